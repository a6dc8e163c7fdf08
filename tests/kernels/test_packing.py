"""Rows of a PackedSequence, padded and packed again, beside torch's own."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import unrolled as ur
from unrolled.errors import ShapeError
from unrolled.kernels import native, packing

LENGTHS = torch.tensor([7, 5, 5, 2, 1])


@pytest.fixture(params=["ours", "torch"])
def who(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(native, "AVAILABLE", False)
    elif not native.AVAILABLE:
        pytest.skip("the C++ kernels are not built")


@pytest.mark.usefixtures("who")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("features", [1, 3, 4000])  # the last on several threads
def test_as_torch(dtype, features):
    ur.set_num_threads(3)
    x = torch.randn(5, 9, features).to(dtype).transpose(0, 1)[:7].transpose(0, 1)
    expected = pack_padded_sequence(x, LENGTHS, batch_first=True)
    rows = packing.pack(x, expected.batch_sizes)
    assert torch.equal(rows, expected.data)
    assert torch.equal(
        packing.pad(rows, expected.batch_sizes), pad_packed_sequence(expected, batch_first=True)[0]
    )
    assert torch.equal(packing.lengths_of(expected.batch_sizes), LENGTHS)


@pytest.mark.usefixtures("who")
def test_gradients_also_of_gradients():
    sizes = pack_padded_sequence(torch.zeros(5, 7, 1), LENGTHS, batch_first=True).batch_sizes
    x = torch.randn(5, 7, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    for way, given in ((packing.pack, x), (packing.pad, rows)):
        assert torch.autograd.gradcheck(lambda t, way=way: way(t, sizes).sin(), (given,))
        assert torch.autograd.gradgradcheck(lambda t, way=way: way(t, sizes).sin(), (given,))


def test_many_gradients_at_once():
    """`is_grads_batched` maps by a means of its own."""
    layer = ur.accelerate(torch.nn.GRU(2, 3))
    x = torch.randn(20, 2, requires_grad=True)
    sizes = pack_padded_sequence(torch.zeros(5, 7, 1), LENGTHS, batch_first=True).batch_sizes
    y = layer(PackedSequence(x, sizes))[0].data
    ways = torch.eye(60).view(60, 20, 3)
    (at_once,) = torch.autograd.grad(y, x, ways, is_grads_batched=True, retain_graph=True)
    for way, got in zip(ways[::7], at_once[::7], strict=True):
        (alone,) = torch.autograd.grad(y, x, way, retain_graph=True)
        torch.testing.assert_close(got, alone)


@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
@pytest.mark.parametrize("sizes", [[2, 3], [3, 0, 2], [3, 3], [2, -1, 4], [5], [5, 0], [6, -1]], ids=str)
def test_batch_sizes_that_are_none_are_refused(sizes):
    layer = ur.accelerate(torch.nn.LSTM(2, 3))
    with pytest.raises(ShapeError, match="PackedSequence: expected .*batch sizes"):
        layer(PackedSequence(torch.randn(5, 2) if sizes != [5] else torch.randn(4, 2), torch.tensor(sizes)))


@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
def test_batch_sizes_of_another_type_are_refused():
    layer = ur.accelerate(torch.nn.LSTM(2, 3))
    with pytest.raises(ShapeError, match="PackedSequence: expected as many rows"):
        layer(PackedSequence(torch.randn(5, 2), torch.tensor([3, 2], dtype=torch.int32)))


@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
def test_batch_sizes_and_rows_that_lie_anywhere():
    rows, sizes = torch._neg_view(torch.randn(5, 2)), torch.tensor([3, 9, 2, 9])[::2]
    assert rows.is_neg()
    x = packing.pad(rows, sizes)
    assert torch.equal(x, packing.pad(rows.resolve_neg().clone(), sizes.clone()))
    assert torch.equal(x[:, 0], rows[:3])
    assert torch.equal(packing.pack(x, sizes), rows)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_transformation_is_torchs():
    sizes = torch.tensor([3, 2])
    rows = torch.randn(4, 5, 2)
    x = torch.func.vmap(lambda rows: packing.pad(rows, sizes))(rows)
    assert torch.equal(x, torch.stack([packing.pad(part, sizes) for part in rows]))
    assert torch.equal(torch.func.vmap(lambda x: packing.pack(x, sizes))(x), rows)


@pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")
def test_a_ragged_batch_whose_tiles_are_fewer_than_planned():
    """513 sequences: 34 tiles of 16 would leave the last one without rows."""
    lengths = torch.tensor([3] * 200 + [2] * 200 + [1] * 113)
    theirs = torch.nn.GRU(2, 3, batch_first=True)
    ours = ur.accelerate(torch.nn.GRU(2, 3, batch_first=True))
    ours.load_state_dict(theirs.state_dict())
    given = pack_padded_sequence(torch.randn(513, 3, 2), lengths, batch_first=True)
    torch.testing.assert_close(ours(given)[0].data, theirs(given)[0].data)
