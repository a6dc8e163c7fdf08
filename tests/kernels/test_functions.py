"""The vector functions of the kernels over float32: the errors that csrc/vector.h states, in units in the last place."""

from itertools import pairwise

import numpy as np
import pytest

from unrolled.kernels import native

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the C++ kernels are not built")

EXP, SIGMOID, TANH = 0, 1, 2
EXACT = {EXP: np.exp, SIGMOID: lambda x: 1 / (1 + np.exp(-x)), TANH: np.tanh}
BOUNDS = {np.float32: {EXP: 2, SIGMOID: 3, TANH: 4}, np.float64: {EXP: 3, SIGMOID: 4, TANH: 5}}


@pytest.fixture(params=native._native.isas() if native.AVAILABLE else [])
def isa(request):
    before = native.instruction_set()
    native._native.choose(request.param)
    yield request.param
    native._native.choose(before)


def evaluate(function, x):
    """One of the vector functions; x has a multiple of 16 elements."""
    y = np.empty_like(x)
    native._native.evaluate(function, x.ctypes.data, y.ctypes.data, x.size, x.dtype == np.float64)
    return y


def every(step, low, high):
    """Every step-th float32 between two of the same sign."""
    bits = sorted(int(np.float32(v).view(np.int32)) for v in (low, high))
    found = np.arange(*bits, step, dtype=np.int64).astype(np.int32).view(np.float32)
    return found[: found.size // 16 * 16]


def ulps(function, x):
    wide = np.longdouble if x.dtype == np.float64 else np.float64
    with np.errstate(over="ignore"):
        exact = EXACT[function](x.astype(wide))
    got = evaluate(function, x)
    return np.abs(got.astype(wide) - exact) / np.spacing(np.abs(exact).astype(x.dtype)).astype(wide)


@pytest.mark.parametrize("function", EXACT)
@pytest.mark.parametrize("sign", [1, -1])
def test_errors_in_single_precision(isa, function, sign):
    x = every(97, 1e-30, 87.0) * np.float32(sign)
    assert ulps(function, x).max() <= BOUNDS[np.float32][function]


@pytest.mark.slow
@pytest.mark.parametrize("function", EXACT)
@pytest.mark.parametrize("sign", [1, -1])
def test_errors_of_every_number_from_a_small_one_on(isa, function, sign):
    edges = np.geomspace(2.0**-14, 87.0, 40, dtype=np.float32)
    for low, high in pairwise(edges):
        x = every(1, low, high) * np.float32(sign)
        assert ulps(function, x).max() <= BOUNDS[np.float32][function]


@pytest.mark.parametrize("function", EXACT)
def test_errors_in_double_precision(isa, function):
    x = np.concatenate([s * np.geomspace(1e-300, 700, 160_000) for s in (1, -1)])
    assert ulps(function, x).max() <= BOUNDS[np.float64][function]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_saturate_and_nan_stays(isa, dtype):
    x = np.full(16, np.nan, dtype)
    x[:6] = [np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0]
    assert np.isnan(evaluate(TANH, x)[6:]).all()
    assert np.isnan(evaluate(SIGMOID, x)[6:]).all()
    assert evaluate(TANH, x)[:6].tolist() == [1, -1, 1, -1, 0, 0]
    assert np.signbit(evaluate(TANH, x)[4:6]).tolist() == [False, True]
    low = evaluate(SIGMOID, x)[:6]
    assert low[[0, 2, 4]].tolist() == [1, 1, 0.5]
    assert (low[[1, 3]] < 1e-37).all() and (low[[1, 3]] >= 0).all()


def test_tanh_never_leaves_its_range(isa):
    x = every(13, 1e-3, 100.0)
    assert (np.abs(evaluate(TANH, x)) <= 1).all()
