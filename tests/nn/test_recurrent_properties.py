"""What holds for every recurrent layer, whatever its sizes, weights, options and input."""

import hypothesis.strategies as st
import torch
from hypothesis import assume, given, settings

import unrolled as ur

quick = settings(max_examples=40, deadline=None, derandomize=True)
LAYERS = {
    "simple_rnn": lambda *sizes, **o: ur.nn.SimpleRNN(*sizes, **o),
    "lstm": lambda *sizes, **o: ur.nn.LSTM(*sizes, **o),
    "gru": lambda *sizes, **o: ur.nn.GRU(*sizes, **o),
    "gru, reset before": lambda *sizes, **o: ur.nn.GRU(*sizes, reset_after=False, **o),
    "cell": lambda *sizes, layer_norm, **o: ur.nn.RNN(ur.nn.LSTMCell(*sizes, layer_norm=layer_norm), **o),
}


@st.composite
def worlds(draw):
    """A function that makes the same layer with any options, an input, and a mask or none."""
    batch, time, features, units = (draw(st.integers(1, n)) for n in (4, 9, 4, 5))
    kind, norm, seed = draw(st.sampled_from(sorted(LAYERS))), draw(st.booleans()), draw(st.integers(0, 10**6))

    def make(**options):
        torch.manual_seed(seed)
        layer = LAYERS[kind](features, units, layer_norm=norm, return_state=True, **options).double()
        for p in layer.parameters():
            torch.nn.init.normal_(p, std=0.6)
        return layer

    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, time, features, generator=generator, dtype=torch.float64)
    mask = torch.rand(batch, time, generator=generator) < draw(st.sampled_from([0.3, 0.7]))
    return make, x, draw(st.sampled_from([None, mask]))


def assert_all_close(got, expected):
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-12)


@given(worlds(), st.integers(1, 8))
@quick
def test_a_sequence_in_two_parts_with_the_state_handed_on_equals_the_whole(world, cut):
    make, x, mask = world
    assume(cut < x.shape[1])
    layer = make(return_sequences=True)
    y, *last = layer(x, None, mask)
    first, second = (None, None) if mask is None else (mask[:, :cut], mask[:, cut:])
    y1, *state = layer(x[:, :cut], None, first)
    y2, *last2 = layer(x[:, cut:], tuple(state), second)
    assert_all_close(last2, last)
    assert_all_close([y1], [y[:, :cut]])
    # Before its first valid step the second part cannot know the last output of the first part.
    known = torch.ones_like(y2[..., 0], dtype=bool) if second is None else second.cumsum(1) > 0
    assert_all_close([y2[known]], [y[:, cut:][known]])


@given(worlds(), st.integers(1, 8))
@quick
def test_a_stateful_layer_hands_its_state_on_by_itself(world, cut):
    make, x, mask = world
    assume(cut < x.shape[1])
    layer = make(stateful=True)
    parts = [None, None] if mask is None else [mask[:, :cut], mask[:, cut:]]
    layer(x[:, :cut], None, parts[0])
    _, *last = layer(x[:, cut:], None, parts[1])
    assert_all_close(last, make()(x, None, mask)[1:])
    layer.reset_state()
    assert_all_close(layer(x, None, mask), make()(x, None, mask))


@given(worlds())
@quick
def test_going_backwards_equals_flipped_input(world):
    make, x, mask = world
    flipped = None if mask is None else mask.flip(1)
    for options in ({}, {"return_sequences": True}):
        assert_all_close(
            make(go_backwards=True, **options)(x, None, mask), make(**options)(x.flip(1), None, flipped)
        )


@given(worlds(), st.randoms(use_true_random=False))
@quick
def test_a_permuted_batch_gives_permuted_results(world, random):
    make, x, mask = world
    order = list(range(len(x)))
    random.shuffle(order)
    layer = make(return_sequences=True)
    permuted = layer(x[order], None, None if mask is None else mask[order])
    assert_all_close(permuted, [t[order] for t in layer(x, None, mask)])


@given(worlds(), st.sampled_from([0.0, 1e6, float("nan"), float("inf")]))
@quick
def test_padding_never_leaks(world, fill):
    make, x, mask = world
    assume(mask is not None)
    results = []
    for value in (0.5, fill):
        layer = make(return_sequences=True)
        padded = torch.where(mask[..., None], x, value).requires_grad_()
        outputs = layer(padded, None, mask)
        gradients = torch.autograd.grad(sum(t.sin().sum() for t in outputs), [padded, *layer.parameters()])
        results.append([*outputs, *gradients])
    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)


@given(worlds())
@quick
def test_a_masked_sequence_equals_the_sequence_without_the_skipped_steps(world):
    make, x, mask = world
    assume(mask is not None)
    layer = make()
    results = layer(x, None, mask)
    for i in range(len(x)):
        if mask[i].any():
            assert_all_close([t[i] for t in results], [t[0] for t in layer(x[i : i + 1, mask[i]])])
        else:
            assert all((t[i] == 0).all() for t in results)


@given(worlds())
@quick
def test_the_last_output_is_that_of_the_last_step(world):
    make, x, mask = world
    every, *states = make(return_sequences=True)(x, None, mask)
    assert_all_close(make()(x, None, mask), [every[:, -1], *states])
