"""The losses: each against a formula of its own, their slopes against autograd, and what does not fit."""

import numpy as np
import pytest
import torch

from unrolled.errors import ShapeError
from unrolled.training.objectives import LOSSES, masked_loss, member_losses, slopes

LEVELS = (0.1, 0.5, 0.8)
SHAPE = (2, 6, 3)  # members, batch, horizon


def pair(loss, shape=SHAPE, seed=0):
    """Outputs and targets for a loss, drawn."""
    g = torch.Generator().manual_seed(seed)
    last = {"pinball": (len(LEVELS),), "cross-entropy": (4,)}.get(loss, ())
    output = 2 * torch.randn(*shape, *last, generator=g)
    if loss == "cross-entropy":
        return output, torch.randint(4, shape, generator=g)
    if loss == "binary-cross-entropy":
        return output, torch.randint(2, shape, generator=g).float()
    return output, torch.randn(*shape, generator=g)


def by_formula(loss, output, target):
    """The loss of each single output, in float64 and by loops, without torch.nn.functional."""
    o, t = output.double().numpy(), target.double().numpy()
    found = np.empty(t.shape)
    for at in np.ndindex(*t.shape):
        e = np.abs(o[at] - t[at])
        if loss == "mae":
            found[at] = e
        elif loss == "mse":
            found[at] = e * e
        elif loss == "huber":
            found[at] = e * e / 2 if e <= 1 else e - 0.5
        elif loss == "pinball":
            found[at] = np.mean(
                [
                    q * (t[at] - y) if t[at] >= y else (1 - q) * (y - t[at])
                    for q, y in zip(LEVELS, o[at], strict=True)
                ]
            )
        elif loss == "cross-entropy":
            found[at] = -np.log(np.exp(o[at][int(t[at])]) / np.exp(o[at]).sum())
        else:
            p = 1 / (1 + np.exp(-o[at]))
            found[at] = -np.log(p) if t[at] else -np.log(1 - p)
    return found


def levels(loss):
    return LEVELS if loss == "pinball" else ()


def masks():
    some = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) > 0.4
    empty = some.clone()
    empty[1] = False
    return [None, some, empty]


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("counted", masks(), ids=["all", "some", "none of a member"])
def test_each_member_has_the_mean_over_what_is_counted(loss, counted):
    output, target = pair(loss)
    each, used = (
        by_formula(loss, output, target),
        np.ones(SHAPE, bool) if counted is None else counted.numpy(),
    )
    expected = [row[use].mean() if use.any() else 0.0 for row, use in zip(each, used, strict=True)]
    found = member_losses(loss, output, target, counted, levels(loss))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("counted", masks(), ids=["all", "some", "none of a member"])
def test_slopes_are_those_of_autograd(loss, counted):
    output, target = pair(loss, seed=3)
    output.requires_grad_()
    (expected,) = torch.autograd.grad(
        member_losses(loss, output, target, counted, levels(loss)).sum(), output
    )
    found = slopes(loss, output.detach(), target, counted, levels(loss))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert found.abs().sum() > 0


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "cross-entropy"])
def test_uncounted_targets_have_no_influence_even_when_not_finite(loss):
    output, target = pair(loss)
    counted = masks()[1]
    target = torch.where(counted, target, torch.nan)
    output.requires_grad_()
    member_losses(loss, output, target, counted, levels(loss)).sum().backward()
    for gradient in (output.grad, slopes(loss, output.detach(), target, counted, levels(loss))):
        assert torch.isfinite(gradient).all()
        assert (gradient[~counted] == 0).all()


def test_classes_that_are_not_counted_may_have_any_number():
    output, target = pair("cross-entropy")
    counted = masks()[1]
    found = member_losses("cross-entropy", output, torch.where(counted, target, -100), counted)
    assert torch.equal(found, member_losses("cross-entropy", output, target, counted))


def test_losses_of_a_single_network_have_no_axis_of_members():
    output, target = pair("mae")
    counted = masks()[1]
    assert (
        masked_loss("mae", output[0], target[0], counted[0])
        == member_losses("mae", output, target, counted)[0]
    )


@pytest.mark.parametrize(
    ("loss", "output", "target", "message"),
    [("mse", (1, 5, 2), (1, 5, 1), r"outputs of the targets' shape \(batch, …\) = \(5, 1\), got \(5, 2\)"),
     ("mse", (1, 5, 1), (1, 5), r"= \(5,\), got \(5, 1\)"),
     ("binary-cross-entropy", (1, 5, 1), (1, 5), r"got \(5, 1\). Change the network's last layer"),
     ("pinball", (1, 5, 2), (1, 5), r"outputs of shape \(5, levels=3\) for 'pinball', got \(5, 2\)"),
     ("cross-entropy", (1, 5), (1, 5), r"outputs of shape \(5, classes\) for 'cross-entropy', got \(5,\)")],
)  # fmt: skip
def test_outputs_that_do_not_fit(loss, output, target, message):
    kind = torch.int64 if loss == "cross-entropy" else torch.float32
    with pytest.raises(ShapeError, match=message):
        member_losses(loss, torch.zeros(output), torch.zeros(target, dtype=kind), None, levels(loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_multiply_each_loss(loss):
    output, target = pair(loss)
    levels = LEVELS if loss == "pinball" else ()
    weight = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    each = torch.from_numpy(by_formula(loss, output, target))
    found = member_losses(loss, output, target, None, levels, weight)
    torch.testing.assert_close(found.double(), (each * weight).mean((1, 2)), rtol=1e-4, atol=1e-5)
    counted = torch.arange(18).reshape(6, 3).expand(SHAPE) % 2 == 0
    found = member_losses(loss, output, target, counted, levels, weight)
    wanted = (each * weight * counted).sum((1, 2)) / counted.sum((1, 2))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
