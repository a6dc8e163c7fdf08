"""Products of many matrices: what torch computes, and the same bits for a matrix wherever it stands."""

import random

import pytest
import torch
from torch.func import jvp, vmap

import unrolled as ur
from unrolled.errors import ShapeError
from unrolled.kernels import native
from unrolled.kernels.product import product, project

kernels = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")


def matrices(pick, *shape, dtype):
    """Random matrices: whole, turned, or a part of larger ones."""
    *more, N, K = shape
    way = pick.choice(["whole", "turned", "part", "repeated"])
    if way == "turned":
        return torch.randn(*more, K, N, dtype=dtype).mT
    if way == "part":
        return torch.randn(*more, N + 3, 2 * K + 1, dtype=dtype)[..., 2 : N + 2, 1::2]
    return (
        torch.randn(N, K, dtype=dtype).expand(shape) if way == "repeated" else torch.randn(shape, dtype=dtype)
    )


@kernels
@pytest.mark.parametrize("seed", range(60))
def test_as_torch_and_the_same_bits_alone_moved_and_on_any_threads(seed):
    pick = random.Random(seed)
    dtype = pick.choice([torch.float32, torch.float64])
    M, N, K, O = pick.randint(1, 5), *(pick.choice([1, 2, 7, 16, 33, 60, 150]) for _ in range(3))  # noqa: E741
    a, b = matrices(pick, M, N, K, dtype=dtype), matrices(pick, M, K, O, dtype=dtype)
    ur.set_num_threads(1)
    found = native.products(a, b)
    bound = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype] * K**0.5 * 4
    torch.testing.assert_close(found.double(), a.double() @ b.double(), rtol=0, atol=bound)
    ur.set_num_threads(3)
    assert torch.equal(native.products(a, b), found)
    moved = torch.empty(K * O + 1, dtype=dtype)[1:].view(K, O)
    alone = native.products(a[-1:], moved.copy_(b[-1])[None])
    assert torch.equal(alone, found[-1:])


@kernels
def test_sums_longer_than_a_part_of_any_instruction_set_and_numbers_with_the_sign_changed():
    a, b = torch.randn(2, 3, 1100, dtype=torch.complex64).conj().imag, torch.randn(2, 1100, 5)
    assert a.is_neg()
    torch.testing.assert_close(native.products(a, b), a @ b, rtol=0, atol=1e-3)
    torch.testing.assert_close(native.products(b.mT, a.mT), b.mT @ a.mT, rtol=0, atol=1e-3)


@kernels
def test_nothing_to_add_up_or_to_compute():
    for M, N, K, O in ((0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 4, 0), (2, 3, 0, 4)):  # noqa: E741
        assert torch.equal(native.products(torch.ones(M, N, K), torch.ones(M, K, O)), torch.zeros(M, N, O))


@kernels
def test_what_is_not_a_number_stays_in_its_row():
    a, b = torch.randn(2, 50, 20), torch.randn(2, 20, 40)
    clean = native.products(a, b)
    a[0, 47, 3], a[1, 2, 5] = torch.nan, torch.inf
    found = native.products(a, b)
    assert found[0, 47].isnan().all() and not found[1, 2].isfinite().any()
    found[0, 47], found[1, 2] = clean[0, 47], clean[1, 2]
    assert torch.equal(found, clean)


@kernels
def test_what_does_not_fit_is_refused():
    a = torch.ones(2, 3, 4)
    for b in (torch.ones(2, 5, 6), torch.ones(3, 4, 6), torch.ones(2, 4, 6, dtype=torch.float64)):
        with pytest.raises(ShapeError, match="products: expected matrices that fit"):
            native.products(a, b)


def test_gradients_also_of_gradients():
    a = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 3, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, (a, b))
    assert torch.autograd.gradgradcheck(product, (a, b))


@pytest.mark.parametrize("which", [0, 1])
def test_the_gradient_of_one_of_the_two_and_many_at_once(which):
    given = [torch.randn(2, 4, 5), torch.randn(2, 5, 3)]
    y = product(*[t.requires_grad_(i == which) for i, t in enumerate(given)])
    ways = torch.eye(24).view(24, 2, 4, 3)
    for way in (ways[3], ways):
        options = {"retain_graph": True, "is_grads_batched": way is ways}
        (got,) = torch.autograd.grad(y, given[which], way, **options)
        (expected,) = torch.autograd.grad(given[0] @ given[1], given[which], way, **options)
        torch.testing.assert_close(got, expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_other_types_and_transformations_are_torchs():
    a, b = torch.randn(4, 2, 3, 5), torch.randn(4, 2, 5, 7)
    torch.testing.assert_close(vmap(product)(a, b), a @ b)
    torch.testing.assert_close(jvp(lambda t: product(t, b), (a,), (a,))[1], a @ b)
    assert torch.equal(product(a.bfloat16(), b.bfloat16()), a.bfloat16() @ b.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(product(a, b), a @ b)
    torch.testing.assert_close(product(a[:, :1], b[0]), a[:, :1] @ b[0])
    with pytest.raises(RuntimeError, match="must match"):
        product(torch.ones(2, 3, 3, 4), torch.ones(3, 2, 4, 5))


@pytest.mark.usefixtures("without_native")
def test_without_kernels():
    a, b = torch.randn(4, 2, 3, 5), torch.randn(4, 2, 5, 7)
    assert torch.equal(product(a, b), a @ b)


def test_a_projection():
    x, weight, bias = torch.randn(3, 4, 6, 5), torch.randn(3, 7, 5), torch.randn(3, 7)
    expected = torch.stack(
        [torch.nn.functional.linear(*parts) for parts in zip(x, weight, bias, strict=True)]
    )
    torch.testing.assert_close(project(x, weight, bias), expected)
    torch.testing.assert_close(project(x[0], weight[0], None), x[0] @ weight[0].T)
