"""The page with a backtest, members and seconds, and of several series and targets."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from test_report_page import HOSTILE, Reader, row_of

from unrolled.errors import DataError, ShapeError
from unrolled.report import render
from unrolled.report.palette import BASELINES
from unrolled.report.plots import plot_error_by_step


def labels(html):
    plots = Reader(html).plots()
    return list(dict.fromkeys(plot["aria-label"] for plot in plots))


@pytest.fixture
def make_many(make_full, make_forecast, make_backtest):
    """`make_many(series, targets)`: a page of each target of each series."""

    def make(series, targets=("rail",), **changes):
        page = make_full()
        keys = [(one, target) for one in series for target in targets]
        forecast = [make_forecast(page.times).assign(series=one, target=target) for one, target in keys]
        for rank, frame in enumerate(forecast):
            frame["mean"] += 1_000 * rank
        frame = pd.concat(forecast, ignore_index=True)
        scores = dict(page.scores)
        if len(targets) > 1:
            scores["targets"] = {
                name: {"model": page.scores["model"], "baselines": page.scores["baselines"]}
                for name in targets
            }
        full = {
            "times": None,
            "values": None,
            "observed": None,
            "forecast": frame,
            "histories": dict.fromkeys(keys, (page.times, page.values, page.observed)),
            "backtest": pd.concat([make_backtest(20, 14, *key) for key in keys], ignore_index=True),
            "members": np.stack([frame["mean"] - 10, frame["mean"] + 20]),
            "scores": scores,
        }
        return make_full(**full | changes)

    return make


def test_everything_has_its_figure_and_its_words(make_full):
    html = render(make_full())
    found = labels(html)
    assert [label.split(" ")[0] for label in found] == [
        "Forecast",
        "Mean",
        "Errors,",
        "Autocorrelation",
        "The",
        "The",
        "Forecasts",
        "Training",
    ]
    classes = [plot["class"] for plot in Reader(html).plots()]
    assert classes.count("plot both") == 2
    assert classes.count("plot wide") == classes.count("plot narrow") == 6
    text = Reader(html).text
    for part in ("What it missed", "The worst forecasts", "The members", "Seconds by stage", "40.00"):
        assert part in text


def test_words_hold_the_figures_of_the_backtest(make_full, make_backtest):
    frame = make_backtest()
    inside = frame["actual"].between(frame["lo-80"], frame["hi-80"]).mean()
    found = [label.replace("\xa0", " ") for label in labels(render(make_full(backtest=frame)))]
    assert f"The 80 % interval held {inside:.0%}".replace("%", " %").replace("80  %", "80 %") in found[4]
    errors = (frame["actual"] - frame["mean"]).abs().groupby(frame["origin"]).mean()
    assert f"{errors.max():,.0f} after {errors.idxmax():%Y-%m-%d}" in found[5]
    assert "they lie 8,000 apart for 2019-10-28" in found[6]


def test_without_a_backtest_there_is_no_such_section(make_page):
    html = render(make_page())
    for heading in ("What it missed", "The members", "Seconds by stage"):
        assert heading not in html


def test_further_scores_have_columns_only_where_there_are_any(make_full, make_page):
    html = render(make_full())
    head = Reader(re.findall(r"<thead><tr><th scope=\"col\" class=\"left\">Model.*?</thead>", html)[0]).text
    assert head == (
        "ModelMAERMSEMAE to best baselineMASEsMAPEPinball80 % interval held95 % interval held80 % interval score"
    )
    assert "0.3001.4 %3,00081 %94 %36,000" in row_of(html, "model")
    assert "+120 %–3.4 %" in row_of(html, "ETS")
    for note in ("MASE:", "sMAPE:", "Pinball:", "Interval score:"):
        assert note in Reader(html).text
        assert note not in Reader(render(make_page())).text


def test_eight_baselines_differ_and_the_best_three_stand_out(make_full):
    scores = make_full().scores
    axes = plot_error_by_step(scores)
    lines = {drawn.get_label(): drawn for drawn in axes.lines}
    assert len(lines) == 9
    assert (
        len(
            {
                (drawn.get_color(), str(drawn.get_linestyle()), drawn._unscaled_dash_pattern[1])
                for drawn in axes.lines
            }
        )
        == 9
    )
    wide = {name for name, drawn in lines.items() if drawn.get_linewidth() > 1}
    assert wide == {"model", "naive", "seasonal naive", "seasonal naive (7 steps)"}
    # constant velocity would press the others flat
    assert axes.get_ylim()[1] == pytest.approx(1.5 * 1.2 * 14_000)
    assert "Beyond the top: ETS and constant velocity." in Reader(render(make_full())).text
    assert len({dash for _, dash in BASELINES}) == len(BASELINES) == 8


def test_of_many_channels_four_are_drawn(make_many):
    html = render(make_many([f"store {number}" for number in range(7)]))
    found = labels(html)
    assert [label.split(" for ")[0] for label in found[:5]] == [
        *(f"Forecast of store {number} · rail" for number in range(4)),
        "Mean absolute error by step ahead, from step 1 to step 14: the model goes from 7,200 to 10,800, naive"
        " from 8,000 to 12,000, seasonal naive from 9,600 to 14,400, seasonal naive (7 steps) from 11,200 to "
        "16,800, drift from 12,800 to 19,200, linear from 14,400 to 21,600, SARIMA from 16,000 to 24,000, ETS "
        "from 17,600 to 26,400, constant velocity from 72,000 to 108,000.",
    ]
    text = Reader(html).text
    assert "the first 4 of 7 forecasts" in re.sub(r"\s+", " ", text)
    assert "Over all 7 series." in text
    assert html.count('<td class="mean">') == 4 * 14
    assert "Values2,100" in re.sub(r"\s+", "", text)
    # each with its own figures
    page = make_many([f"store {number}" for number in range(7)])
    assert f"{page.forecast['mean'].iloc[14]:,.0f}" in found[1]
    assert "they lie 30 apart" in next(label for label in found if "members" in label[:30])


def test_of_several_targets_the_residuals_are_of_the_first(make_many, make_backtest):
    frame = pd.concat(
        [make_backtest(20, 14, "", "rail"), make_backtest(20, 14, "", "bus")], ignore_index=True
    )
    bus = frame["target"] == "bus"
    frame.loc[bus, "actual"] += 1e7
    html = render(make_many([""], ("rail", "bus"), backtest=frame))
    errors = (frame["actual"] - frame["mean"])[~bus]
    assert f"The largest is {errors[errors.abs().idxmax()]:,.0f}".replace("-", "−") in html
    text = Reader(html).text
    assert text.count("Of rail, the first of 2 targets") == 3
    assert re.findall(r'<h3 id="scores-\d">(.*?)</h3>', html) == ["All targets", "rail", "bus"]
    eight = render(make_many([""], [f"t{number}" for number in range(8)]))
    assert len(re.findall(r'<h3 id="scores-\d">', eight)) == 7
    assert "2 further targets are in" in Reader(eight).text


def test_hostile_names_stay_text(make_many):
    page = make_many([HOSTILE, "b"], (HOSTILE, "c"), seconds={HOSTILE: 1.0})
    plain = make_many(["a", "b"], ("t", "c"), seconds={"stage": 1.0})
    html = render(page)
    read = Reader(html)
    assert read.all("script") == read.all("img") == []
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert [tag for tag, _ in read.tags if tag != "tspan"] == [
        tag for tag, _ in Reader(render(plain)).tags if tag != "tspan"
    ]
    assert read.text.count(HOSTILE) > 12
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in read.tags if "aria-labelledby" in a} <= set(ids)


def test_fifty_thousand_rows_make_a_small_page_in_time(make_full, make_backtest):
    # the figures take most of the time, whatever the number of rows: a page of few rows is the measure
    pages = [make_full(backtest=make_backtest(origins)) for origins in (40, 3_572)]
    seconds = []
    for page in pages:
        start = time.process_time()
        html = render(page)
        seconds.append(time.process_time() - start)
    assert len(pages[1].backtest) > 50_000
    assert len(html.encode()) < 600_000
    assert seconds[1] < 2 * seconds[0] + 0.5


@pytest.mark.parametrize(
    "case",
    [
        "one origin",
        "horizon 1",
        "no actual",
        "integers",
        "constant",
        "no levels",
        "one row",
        "one member",
        "empty",
    ],
)
def test_edge_cases_have_a_page(case, make_full, make_backtest, make_forecast):
    page = make_full()
    frame, members, changes = make_backtest(), page.members, {}
    if case == "one origin":
        frame = make_backtest(1)
    elif case in ("horizon 1", "one row"):
        frame = make_backtest(60 if case == "horizon 1" else 1, 1)
        changes["forecast"], members = make_forecast(page.times, 1), members[:, :1]
    elif case == "no actual":
        frame["actual"] = np.nan
    elif case == "integers":
        times = np.arange(-100, 200)
        changes |= {"times": times, "forecast": make_forecast(times)}
        for name in ("origin", "time"):
            frame[name] = frame[name].dt.day_of_year
    elif case == "constant":
        frame["actual"] = frame["mean"] + 0.1
    elif case == "no levels":
        frame, changes["levels"] = make_backtest(levels=()), ()
    elif case == "one member":
        members = members[:1]
    else:
        frame = frame.head(0)
    html = render(make_full(backtest=frame, members=members, **changes))
    text = Reader(html).text
    assert "nan" not in text.lower()
    assert "nan" not in " ".join(labels(html)).lower()
    assert ("None of the values that were held out was observed" in text) == (case in ("no actual", "empty"))
    assert ("No autocorrelation" in text) == (case in ("one origin", "one row", "constant"))
    assert ("Values that the intervals held" in text) == (case not in ("no actual", "empty", "no levels"))
    assert ("The members" in text) == (case != "one member")


def test_histories_and_members_that_do_not_fit_are_refused(make_many, make_full):
    page = make_many(["a", "b"])
    with pytest.raises(DataError, match=r"got none for \('b', 'rail'\)\. Pass histories"):
        render(make_many(["a", "b"], histories={("a", "rail"): page.histories["a", "rail"]}))
    with pytest.raises(DataError, match="expected times, values and observed, or histories, got neither"):
        render(make_full(times=None))
    with pytest.raises(ShapeError, match=r"shape \(members, 14\), at least one member, got \(2, 3\)"):
        render(make_full(members=np.zeros((2, 3))))
    with pytest.raises(DataError, match="got no column origin"):
        render(make_full(backtest=make_full().backtest.drop(columns="origin")))
