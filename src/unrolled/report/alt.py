"""What the plots show, in words with figures, for readers who do not see them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unrolled.report.plots import error_curves, recent_steps
from unrolled.report.wording import count_steps, format_errors, format_times, format_values, join_words

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["describe_errors", "describe_forecast", "describe_training"]


def describe_forecast(
    times: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    forecast: pd.DataFrame,
    levels: Sequence[int],
    target: str,
    unit: str,
) -> str:
    """Say what `plot_forecast` shows.

    Args:
        times, values, observed, forecast, levels: as for `plot_forecast`.
        target: the name of what is forecast.
        unit: the unit of time of a step, in the singular.

    Returns:
        A few sentences.

    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame({"time": [3, 4], "mean": [1.0, 1.5], "lo-80": [0.5, 0.7], "hi-80": [1.5, 2.3]})
    >>> history = np.array([1.0, 2.0, 3.0])
    >>> describe_forecast(np.arange(3), history, np.ones(3, bool), frame, (80,), "rail", "step")
    'Forecast of rail for the 2 steps from 3 to 4: the mean goes from 1.00 to 1.50. The 80 % interval lies \
between 0.50 and 2.30. Before it, the last 3 steps of the history, between 1.00 and 3.00.'
    """
    import numpy as np

    past = recent_steps(len(forecast))
    history, seen = np.asarray(values, float)[-past:], np.asarray(observed, bool)[-past:]
    mean = forecast["mean"].to_numpy(float)
    widest = max(levels, default=None)
    low, high = (
        (mean, mean) if widest is None else (forecast[f"{s}-{widest}"].to_numpy(float) for s in ("lo", "hi"))
    )
    ends = [mean[0], mean[-1], _least(low), -_least(-high), _least(history), -_least(-history)]
    first, last, lowest, highest, least, most = format_values(ends)
    start, end = format_times(forecast["time"].to_numpy()[[0, -1]])
    if len(mean) == 1:
        parts = [f"Forecast of {target} for {start}, one {unit} ahead: the mean is {first}."]
    else:
        parts = [
            f"Forecast of {target} for the {count_steps(len(mean), unit)} from {start} to {end}: "
            f"the mean goes from {first} to {last}."
        ]
    if widest is not None:
        parts.append(f"The {widest} % interval lies between {lowest} and {highest}.")
    parts.append(
        f"Before it, the last {count_steps(len(history), unit)} of the history, between {least} and {most}."
    )
    filled = int(np.count_nonzero(~seen))
    if filled:
        parts.append(f"{filled:,} of these {'is a filled gap' if filled == 1 else 'are filled gaps'}.")
    return " ".join(parts)


def describe_errors(scores: Mapping[str, Any]) -> str:
    """Say what `plot_error_by_step` shows.

    Args:
        scores: as for `plot_error_by_step`.

    Returns:
        One sentence for the model, one for the baselines.

    >>> baselines = {"naive": {"mae_by_step": [1.2, 2.5]}}
    >>> describe_errors({"model": {"mae_by_step": [1, 1.5]}, "baselines": baselines})
    'Mean absolute error by step ahead, from step 1 to step 2: the model goes from 1.00 to 1.50, naive \
from 1.20 to 2.50.'
    """
    curves = error_curves(scores)
    texts = format_errors(error for _, errors, _, _ in curves for error in (errors[0], errors[-1]))
    spans = [f"{name} from {texts[2 * i]} to {texts[2 * i + 1]}" for i, (name, *_) in enumerate(curves[:-1])]
    model = f"the model goes from {texts[-2]} to {texts[-1]}"
    steps = len(curves[-1][1])
    return f"Mean absolute error by step ahead, from step 1 to step {steps:,}: {', '.join([model, *spans])}."


def describe_training(training: Sequence[Mapping[str, Any]]) -> str:
    """Say what `plot_training` shows.

    Args:
        training: as for `plot_training`.

    Returns:
        Two sentences.

    >>> describe_training([{"member": 0, "epoch": 1, "loss": 2.0, "valid_loss": 3.0, "best": False},
    ...                    {"member": 0, "epoch": 2, "loss": 1.0, "valid_loss": 2.5, "best": True}])
    'Training of 1 member over up to 2 epochs. Best epoch: 2, with the validation value 2.50.'
    """
    members = dict.fromkeys(row["member"] for row in training)
    epochs = max(int(row["epoch"]) for row in training)
    text = f"Training of {count_steps(len(members), 'member')} over up to {count_steps(epochs, 'epoch')}."
    best = [row for row in training if row.get("best")]
    if not best:
        return text
    word = "Best epoch" if len(best) == 1 else "Best epochs"
    text += f" {word}: {join_words([str(row['epoch']) for row in best])}"
    judged = [row.get("valid_loss") for row in best]
    if any(value is None or not math.isfinite(value) for value in judged):
        return f"{text}."
    word = "the validation value" if len(best) == 1 else "the validation values"
    return f"{text}, with {word} {join_words(format_errors(float(value or 0) for value in judged))}."


def _least(values: np.ndarray) -> float:
    import numpy as np

    finite = values[np.isfinite(values)]
    return float(finite.min()) if len(finite) else math.nan
