"""What the plots show, in words with figures, for readers who do not see them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unrolled.data.calendar_rows import join_words
from unrolled.report.plots import error_curves, recent_steps
from unrolled.report.wording import (
    count_steps,
    format_errors,
    format_percent,
    format_times,
    format_values,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from unrolled.report.backtest import Autocorrelation, Rows, Window

__all__ = [
    "describe_autocorrelation",
    "describe_calibration",
    "describe_errors",
    "describe_forecast",
    "describe_members",
    "describe_residuals",
    "describe_training",
    "describe_worst_windows",
]


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
    texts = format_errors(error for curve in curves for error in (curve.errors[0], curve.errors[-1]))
    spans = [f"{curve.name} from {texts[2 * i]} to {texts[2 * i + 1]}" for i, curve in enumerate(curves[:-1])]
    model = f"the model goes from {texts[-2]} to {texts[-1]}"
    steps = len(curves[-1].errors)
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


def describe_residuals(rows: Rows) -> str:
    """Say what `plot_residuals` shows.

    >>> import pandas as pd
    >>> from unrolled.report.backtest import read_backtest
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": 1, "step": [1, 2], "time": [2, 3],
    ...     "actual": [1.0, 9.0], "mean": 0.0})
    >>> describe_residuals(read_backtest(frame))
    'Errors, actual minus forecast, from 2 to 3: on average 1.00 at step 1, 9.00 at step 2. The largest is 9.00, \
for 3. Of all errors, 80 % lie between 1.80 and 8.20.'
    """
    import numpy as np

    counted = np.isfinite(rows.error)
    errors, steps, times = rows.error[counted], rows.step[counted], rows.time[counted]
    ends = list(dict.fromkeys((int(steps.min()), int(steps.max()))))
    means = [float(errors[steps == step].mean()) for step in ends]
    largest = int(np.argmax(np.abs(errors)))
    quantiles = [float(np.quantile(errors, share)) for share in (0.1, 0.9)]
    *average, most, low, high = format_errors([*means, float(errors[largest]), *quantiles])
    start, end, when = format_times(np.array([times.min(), times.max(), times[largest]]))
    by_step = ", ".join(f"{text} at step {step:,}" for text, step in zip(average, ends, strict=True))
    return (
        f"Errors, actual minus forecast, from {start} to {end}: on average {by_step}. The largest is {most}, "
        f"for {when}. Of all errors, 80 % lie between {low} and {high}."
    )


def describe_autocorrelation(found: Autocorrelation, step: int) -> str:
    """Say what `plot_residual_autocorrelation` shows.

    >>> import numpy as np
    >>> from unrolled.report.backtest import Autocorrelation
    >>> describe_autocorrelation(Autocorrelation(np.array([0.5, -0.1, 0.3]), 0.2, 96.0), 1)
    'Autocorrelation of the errors of step 1 at the lags 1 to 3: 0.50 at lag 1; 2 of 3 lie outside ±0.20, the \
largest with 0.50 at lag 1.'
    """
    import numpy as np

    count = len(found.values)
    largest = int(np.argmax(np.abs(found.values)))
    first, most = (f"{found.values[lag]:.2f}".replace("-", "−") for lag in (0, largest))
    outside = int(np.count_nonzero(np.abs(found.values) > found.bound))
    lags = "lag 1" if count == 1 else f"the lags 1 to {count}"
    return (
        f"Autocorrelation of the errors of step {step:,} at {lags}: {first} at lag 1; {outside} of {count} "
        f"{'lies' if outside == 1 else 'lie'} outside ±{found.bound:.2f}, the largest with {most} at "
        f"lag {largest + 1}."
    )


def describe_calibration(shares: Mapping[str, tuple[float, Mapping[int, float]]]) -> str:
    """Say what `plot_calibration` shows.

    >>> describe_calibration({"80": (0.75, {1: 0.9, 2: 0.6})}).replace("\\xa0", " ")
    'The 80 % interval held 75 % of the values, by step from 60 % (step 2) to 90 % (step 1).'
    """
    sentences = []
    for level, (share, by_step) in shares.items():
        text = f"The {level} % interval held {format_percent(share)} of the values"
        if len(by_step) > 1:
            least, most = min(by_step, key=by_step.__getitem__), max(by_step, key=by_step.__getitem__)
            text += (
                f", by step from {format_percent(by_step[least])} (step {least:,}) "
                f"to {format_percent(by_step[most])} (step {most:,})"
            )
        sentences.append(f"{text}.")
    return " ".join(sentences)


def describe_worst_windows(windows: Sequence[Window], *, several: bool) -> str:
    """Say what `plot_worst_windows` shows; with `several`, of which series each is.

    >>> import pandas as pd
    >>> from unrolled.report.backtest import read_backtest, worst_windows
    >>> frame = pd.DataFrame({"series": "", "target": "y", "origin": [1, 2, 3], "step": 1, "time": [2, 3, 4],
    ...     "actual": [1.0, 2.0, 4.0], "mean": 1.0})
    >>> describe_worst_windows(worst_windows(read_backtest(frame), 2), several=False)
    'The 2 worst forecasts beside what came, by mean absolute error: 3.00 after 3 and 1.00 after 2.'
    """
    import numpy as np

    errors = format_errors(window.mae for window in windows)
    origins = format_times(np.array([window.origin for window in windows]))
    parts = [
        f"{error} after {origin}{f' ({window.name[0] or window.name[1]})' if several else ''}"
        for error, origin, window in zip(errors, origins, windows, strict=True)
    ]
    first = "The worst forecast" if len(windows) == 1 else f"The {len(windows)} worst forecasts"
    return f"{first} beside what came, by mean absolute error: {join_words(parts)}."


def describe_members(forecast: pd.DataFrame, members: np.ndarray) -> str:
    """Say what `plot_members` shows.

    >>> import numpy as np, pandas as pd
    >>> describe_members(pd.DataFrame({"time": [5, 6], "mean": [1.0, 1.5]}), np.array([[0.9, 1.2], [1.1, 1.8]]))
    'Forecasts of 2 members: they lie 0.20 apart for 5, and 0.60 apart for 6, around the mean 1.00 and 1.50.'
    """
    mean = forecast["mean"].to_numpy().astype(float)
    apart = [float(members[:, at].max() - members[:, at].min()) for at in (0, -1)]
    texts = format_errors([apart[0], apart[1], mean[0], mean[-1]], 2)
    start, end = format_times(forecast["time"].to_numpy()[[0, -1]])
    opening = f"Forecasts of {count_steps(len(members), 'member')}: they lie {texts[0]} apart for {start}"
    if len(mean) == 1:
        return f"{opening}, around the mean {texts[2]}."
    return f"{opening}, and {texts[1]} apart for {end}, around the mean {texts[2]} and {texts[3]}."


def _least(values: np.ndarray) -> float:
    import numpy as np

    finite = values[np.isfinite(values)]
    return float(finite.min()) if len(finite) else math.nan
