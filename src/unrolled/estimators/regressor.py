"""The regressor of sequences: a number for each, such as a score of a text, or numbers for each step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from unrolled.errors import DataError, ShapeError
from unrolled.estimators.answers import take_answers
from unrolled.estimators.sequences import SequenceEstimator

__all__ = ["SequenceRegressor"]


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """Tells a number of a sequence (or several): a score of a text, a value of a curve; with `per_step` of each step.

    The network, the arguments and what X may be are those of `SequenceClassifier` (but for class_weight). Targets are
    scaled by their mean and standard deviation in the training part; the loss is that of `training`, by default "mse".

    Attributes after `fit`:
        `run_`, `networks_`, `architecture_`, `reading_`, `notes_` as there; `target_mean_`, `target_scale_`.

    Raises:
        OptionError: an argument is out of its range.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=rng.integers(3, 9)) for _ in range(150)]
    >>> regressor = SequenceRegressor("gru", units=8, members=1).fit(X, [x.max() for x in X], progress=False)
    >>> bool(abs(regressor.predict([[0.1, 1.0, -0.4]])[0] - 1.0) < 0.4)
    True
    """

    def predict(self, X: Any) -> Any:
        """Return the numbers of each sequence: (n,), or (n, targets) as y was; with `per_step` those of each step.

        Raises:
            DataError: as `fit`.
            ShapeError: the sequences are of another kind, or have other features.
        """
        answers, sequences = self._answer(X, lambda outputs: outputs)
        numbers = answers * self.target_scale_ + self.target_mean_
        numbers = numbers[:, 0] if self.single_ else numbers
        return self._by_sequence(numbers, sequences) if self.per_step else numbers

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the share of the variance that is told (scikit-learn's `r2_score`); with `per_step` of all steps.

        `sample_weight` (n,) is what each sequence, or each of its steps, counts; None for 1.

        Raises:
            DataError: as `fit`.
            ShapeError: X and y do not fit together.
        """
        from sklearn.metrics import r2_score

        answers, sequences = self._answer(X, lambda outputs: outputs)
        actual = self._take_answers(y, sequences.lengths).reshape(len(answers), -1)
        if actual.shape != answers.shape:
            raise ShapeError("y", f"{answers.shape[1]} targets", str(actual.shape[1]), "Give those of fit.")
        found = answers * self.target_scale_ + self.target_mean_
        weights = self._weights_of_answers(sample_weight, sequences.lengths)
        return float(r2_score(actual, found, sample_weight=weights))

    def _take_answers(self, y: Any, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Numbers, (n,) or (n, targets); with `per_step` those of all steps."""
        given = take_answers(y, lengths, self.per_step)
        try:
            found = np.asarray(given)
            strange = found.dtype.kind not in "fiubO"
            values = np.asarray(given, np.float64)
        except (TypeError, ValueError) as error:
            raise _no_numbers() from error
        if strange:  # texts, dates, complex numbers
            raise _no_numbers()
        if values.ndim > 2 or not values.size:
            raise ShapeError("y", "shape (n,) or (n, targets)", str(values.shape), "Reshape the targets.")
        fine = np.isfinite(values)
        if not fine.all():
            number = int(np.argwhere(~fine)[0][0])
            raise DataError(
                "y" if self.per_step else f"y[{number}]",
                "a finite number",
                str(values[~fine][0]),
                f"Fill it in, or leave its sequence out; such numbers: {np.count_nonzero(~fine):,}.",
            )
        return values

    def _learn_answers(self, y: Any, lengths: NDArray[np.int64]) -> NDArray[Any]:
        values = self._take_answers(y, lengths)
        if np.abs(values).max() > 1e150:
            raise DataError(
                "y", "numbers that can be squared", f"{np.abs(values).max():g}", "Scale them down."
            )
        self.single_ = values.ndim == 1
        return values.reshape(len(values), -1)

    def _scale_answers(self, answers: NDArray[Any], learn: NDArray[np.bool_]) -> NDArray[Any]:
        self.target_mean_ = answers[learn].mean(0)
        spread = answers[learn].std(0)
        self.target_scale_ = np.where(spread > 0, spread, 1.0)
        self._targets = answers.shape[1]
        return ((answers - self.target_mean_) / self.target_scale_).astype(np.float32)

    def _without_words(self) -> NDArray[np.float64]:
        return np.zeros(len(self.target_mean_))  # the mean of the training part

    def _outputs(self) -> int:
        return self._targets

    def _loss(self) -> dict[str, Any]:
        if self.training is None:
            return {"loss": "mse"}
        return {} if self.training.loss in ("mse", "mae", "huber") else {"loss": "mse", "levels": ()}


# the one class that is made by the common constructor: a TypeError is to name what the caller knows
SequenceEstimator.__init__.__qualname__ = "SequenceRegressor.__init__"


def _no_numbers() -> ShapeError:
    return ShapeError(
        "y", "a number for each sequence (or as many for each)", "what is no number",
        "Use SequenceClassifier for classes.",
    )  # fmt: skip
