"""What estimators of sequences learn to answer: y as it is given, one answer for each sequence or for each step."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import ShapeError

__all__ = ["take_answers", "why_no_class"]


def take_answers(y: Any, lengths: NDArray[np.int64], per_step: bool) -> list[Any]:
    """The answers of all sequences; with `per_step` the answers of all steps, one after another.

    Tensors are taken as NumPy's arrays.

    Raises:
        ShapeError: they are no list, or not as many as there are sequences (or steps).

    >>> import torch
    >>> take_answers(torch.tensor([1, 0]), np.array([3, 2]), False)
    [np.int64(1), np.int64(0)]
    """
    y = _array(y)
    if isinstance(y, str | bytes | Mapping | Set) or not isinstance(y, Iterable) or _single(y):
        got = f"a {type(y).__name__}"
        raise ShapeError("y", f"a list of {len(lengths):,} answers", got, "Give one for each sequence.")
    answers = [_array(answer) for answer in y]
    if len(answers) != len(lengths):
        raise ShapeError(
            "y",
            f"{len(lengths):,} answers, one for each sequence",
            f"{len(answers):,}",
            "Check X and y.",
        )
    if not per_step:
        return answers
    for number, (answer, length) in enumerate(zip(answers, lengths, strict=True)):
        several = not isinstance(answer, str) and hasattr(answer, "__len__") and not _single(answer)
        if not several or len(answer) != length:
            got = f"{len(answer)}" if several else repr(answer)
            raise ShapeError(
                f"y[{number}]",
                f"{length:,} answers, one for each step (per_step=True)",
                got,
                "Check X and y.",
            )
    return [_array(one) for answer in answers for one in answer]


def why_no_class(label: Any) -> tuple[str, str]:
    """What was got where a class should be, and the cure.

    >>> why_no_class([0, 1, 0])
    ('the row [0, 1, 0] of a one-hot table', 'Pass numbers of classes: y.argmax(-1).')
    """
    row = np.asarray(label) if isinstance(label, list | tuple | np.ndarray) else np.empty(0)
    if row.ndim == 1 and len(row) == 1:
        return "a row of one", "Pass one column as such: y.ravel()."
    hot = row.ndim == 1 and row.dtype.kind in "fiub" and bool(((row == 0) | (row == 1)).all())
    if hot and np.count_nonzero(row) == 1:
        return f"the row {row.tolist()} of a one-hot table"[:80], "Pass numbers of classes: y.argmax(-1)."
    return f"a {type(label).__name__}", "Pass per_step=True where each step has a class."


def _single(given: Any) -> bool:
    return isinstance(given, np.generic | np.ndarray) and given.ndim == 0


def _array(given: Any) -> Any:
    return given.detach().cpu().numpy() if isinstance(given, Tensor) else given
