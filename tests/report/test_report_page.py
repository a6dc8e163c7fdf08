"""The page as text: what it says, that it is safe, and that it needs nothing but itself."""

import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from unrolled.errors import DataError, ShapeError
from unrolled.report import render
from unrolled.report.palette import DARK, LIGHT, PAPER

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=y> $\\bad$ & _日本 #0a5ea8"


class Reader(HTMLParser):
    """Collects tags with their attributes and the text, and checks that tags are closed in order."""

    VOID = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def plots(self) -> list[dict[str, str]]:
        return [svg for svg in self.all("svg") if svg.get("class", "").startswith("plot")]


def row_of(html: str, name: str) -> str:
    """The text of a row of the score table, with plain spaces."""
    rows = re.findall(r"<tr class=.*?</tr>", html)
    return next(text for row in rows if (text := Reader(row).text.replace("\xa0", " ")).startswith(name))


def test_is_a_whole_document_with_every_section(make_page):
    html = render(make_page())
    read = Reader(html)
    assert html.startswith("<!doctype html>")
    assert read.all("html") == [{"lang": "en"}]
    for heading in ("Forecast", "How good is it?", "Error by step ahead", "Training", "The data", "Settings"):
        assert f">{heading}</h2>" in html
    for text in (
        "Rail boardings, 14 days ahead",
        "The model beats all baselines.",
        "3 gaps were filled.",
        "GRU, 32 units",
        "Measured on 1,037 windows",
        "unrolled forecast rail.csv --target rail",
        "14 days",
        "to 2019-11-10",
    ):
        assert text in read.text


def test_hostile_text_stays_text_wherever_it_may_come_in(make_page, make_scores):
    plain = render(make_page())
    hostile = make_scores()
    hostile["baselines"][HOSTILE] = hostile["baselines"].pop("naive")
    hostile["held_out"] = {"windows": 3, "first_origin": HOSTILE, "last_origin": HOSTILE}
    html = render(
        make_page(
            title=HOSTILE,
            target=HOSTILE,
            unit_note=HOSTILE,
            scores=hostile,
            settings={HOSTILE: HOSTILE, "Seed": "0"},
            notes=[HOSTILE],
            verdict=HOSTILE,
            command=HOSTILE,
        )
    )
    read = Reader(html)
    assert read.all("script") == read.all("img") == []
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in Reader(plain).tags], (
        "the text opened or closed a tag"
    )
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    # title, heading, axis, verdict, note, setting twice, command, the baseline twice (legend, table), …
    assert read.text.count(HOSTILE) >= 8
    assert read.plots()[0]["aria-label"].startswith(f"Forecast of {HOSTILE} for the 14 days")


def test_needs_nothing_but_itself(make_page):
    html = render(make_page())
    read = Reader(html)
    assert not re.search(r"(https?:)?//\w", html)
    assert "@import" not in html
    assert "@font-face" not in html
    for _, attributes in read.tags:
        for name, value in attributes.items():
            assert name not in ("src", "srcset", "action", "data", "ping", "poster", "background")
            if name in ("href", "xlink:href"):
                assert value == "data:," or value.startswith("#")
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    policy = [meta["content"] for meta in read.all("meta") if "http-equiv" in meta]
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_every_plot_says_in_words_what_it_shows(make_page):
    plots = Reader(render(make_page())).plots()
    assert [plot["class"] for plot in plots] == ["plot wide", "plot narrow"] * 3
    assert {plot["role"] for plot in plots} == {"img"}
    labels = [plot["aria-label"] for plot in plots[::2]]
    assert labels == [plot["aria-label"] for plot in plots[1::2]]
    assert labels[0].startswith(
        "Forecast of rail for the 14 days from 2019-10-28 to 2019-11-10: the mean goes"
    )
    assert "The 95 % interval lies between 545,919 and 745,580." in labels[0]
    assert labels[0].endswith("3 of these are filled gaps.")
    assert "the model goes from 7,200 to 10,800, naive from 15,500 to 46,500" in labels[1]
    assert labels[2].startswith("Training of 2 members over up to 25 epochs. Best epochs: 20 and 21")


def test_alt_text_has_the_figures_of_the_frame(make_page):
    page = make_page()
    label = Reader(render(page)).plots()[0]["aria-label"]
    assert f"{page.forecast['lo-95'].min():,.0f} and {page.forecast['hi-95'].max():,.0f}" in label
    assert f"from {page.forecast['mean'].iloc[0]:,.0f} to {page.forecast['mean'].iloc[-1]:,.0f}" in label


def test_same_page_same_bytes_whatever_the_users_matplotlib_settings(make_page):
    import matplotlib

    first = render(make_page())
    with matplotlib.rc_context(
        {"figure.constrained_layout.h_pad": 0.5, "axes.xmargin": 0.3, "lines.markeredgewidth": 3}
    ):
        second = render(make_page())
    assert first == second
    # another process has another hash seed and another clock
    code = "from unrolled.report.plots import plot_error_by_step as p; from unrolled.report.svg import "
    code += "figure_to_svg as f; s = {'model': {'mae_by_step': [1.0, 2.0]}}; "
    code += "print(f(p(s).figure, prefix='a', label='b', css_class='c'))"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert b"<svg" in runs[0].stdout


def test_ids_do_not_clash_and_references_resolve(make_page):
    read = Reader(render(make_page()))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = {a["href"][1:] for a in read.all("use")}
    referred |= {a["clip-path"][5:-1] for _, a in read.tags if "clip-path" in a}
    referred |= {a["aria-labelledby"] for _, a in read.tags if "aria-labelledby" in a}
    assert len(referred) > 10
    assert referred <= set(ids)


def test_colours_of_the_plots_all_follow_the_scheme(make_page):
    for _, attributes in Reader(render(make_page())).tags:
        assert not re.search(r"#[0-9a-f]{6}", attributes.get("style", ""), re.IGNORECASE)


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_colours_stand_out_from_the_paper(scheme, colours):
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    assert colours.keys() == LIGHT.keys()
    assert len(set(colours.values())) == len(colours)
    for name, colour in colours.items():
        dim, bright = sorted((luminance(colour), luminance(PAPER[scheme])))
        # WCAG 2: 4.5 for text; the grid is decoration
        assert (bright + 0.05) / (dim + 0.05) >= (1.1 if name == "grid" else 4.5), name


def test_winning_losing_and_tying_are_said_from_the_figures(make_page, make_scores):
    silent = "No comment."
    assert "Beats every baseline" in render(make_page(verdict=silent))

    losing = render(make_page(verdict=silent, scores=make_scores(model=11_000.0)))
    assert "The model loses to linear" in losing
    assert 'class="verdict loses"' in losing
    assert "+10 %" in row_of(losing, "model")
    assert "best" in row_of(losing, "linear")
    assert "best" not in row_of(losing, "model")

    assert "The model loses to seasonal naive and linear" in render(
        make_page(scores=make_scores(model=13_000.0))
    )
    assert "No better than linear" in render(make_page(scores=make_scores(model=10_000.0)))
    assert "not a number" in render(make_page(scores=make_scores(model=math.nan)))


def test_score_table_is_ranked_and_relative_to_the_best_baseline(make_page):
    html = render(make_page())
    names = re.findall(r'<tr class="[^"]*"><th scope="row">([\w ]+)', html)
    assert names == ["model", "linear", "seasonal naive", "naive"]
    assert "−10 %" in row_of(html, "model")
    assert "9,00011,700" in row_of(html, "model").replace("best", "")
    assert "reference" in row_of(html, "linear")
    assert "+25 %" in row_of(html, "seasonal naive")
    assert "81 %94 %" in row_of(html, "naive")


def test_no_baselines_and_scarce_scores(make_page):
    html = render(make_page(scores={"model": {"mae": 2.5}}))
    assert "Not compared with any baseline" in html
    assert "There is no course to draw" in html
    assert "MAE to best baseline" not in html


def test_integer_times_and_negative_values(make_page, make_forecast):
    times = np.arange(-100, 200)
    forecast = make_forecast(times)
    forecast.iloc[:, 5:] -= 1_000_000
    html = render(make_page(times=times, values=-np.linspace(400_000, 300_000, 300), forecast=forecast))
    assert "14 steps" in html
    assert "for the 14 steps from 200 to 213" in html
    assert "the history, between −326,421 and −300,000." in html
    assert '<td class="mean">−373,455</td>' in html


def test_a_model_without_epochs_has_no_training_curve(make_page):
    html = render(make_page(training=[]))
    assert "fitted in one go" in html
    assert len(Reader(html).plots()) == 4


def test_training_without_validation(make_page):
    rows = [{"member": 0, "epoch": 1, "loss": 1.0, "valid_loss": None, "best": True}]
    html = render(make_page(training=rows))
    assert "validation</li>" not in html
    assert "Best epoch: 1." in html


def test_one_step_ahead(make_page, make_forecast, make_scores):
    page = make_page()
    html = render(
        make_page(
            forecast=make_forecast(page.times, 1), scores=make_scores(horizon=1), training=page.training[:1]
        )
    )
    assert "for 2019-10-28, one day ahead" in html
    assert "1 day<" in html
    assert "the errors of a single step ahead are those of the table" in html


def test_forecast_table_holds_every_step_up_to_200(make_page, make_forecast, make_scores):
    page = make_page()
    html = render(page)
    assert "Mon 2019-10-28" in html
    assert f"{page.forecast['mean'].iloc[3]:,.0f}" in html
    long = render(make_page(forecast=make_forecast(page.times, 230), scores=make_scores(horizon=230)))
    assert "30 further steps are in <code>forecast.csv</code>" in long


def test_long_history_makes_a_small_page(make_page, make_forecast, make_scores):
    times = np.datetime64("1990-01-01", "s") + np.arange(100_000) * np.timedelta64(1, "h")
    values = np.random.default_rng(1).normal(size=100_000).cumsum()
    html = render(
        make_page(
            times=times,
            values=values,
            observed=np.ones(100_000, bool),
            forecast=make_forecast(times, 96),
            scores=make_scores(horizon=96),
        )
    )
    assert "100,000" in html
    assert "the last 480 hours of the history" in html
    assert len(html.encode()) < 400_000


def test_no_intervals_and_missing_values(make_page):
    page = make_page()
    values = page.values.copy()
    values[[-1, -40]] = np.nan
    html = render(make_page(levels=(), values=values))
    assert "interval" not in Reader(html).plots()[0]["aria-label"]
    assert "nan" not in Reader(html).text.lower()


@pytest.mark.parametrize("number", [0.0, 650_000.0, -1e-6, 1e-300, 1e300])
def test_constant_series_of_any_size(make_page, number):
    page = make_page()
    forecast = page.forecast.copy()
    forecast.iloc[:, 5:] = number
    Reader(render(make_page(values=np.full(300, number), forecast=forecast)))


def test_input_that_does_not_fit_is_refused(make_page):
    page = make_page()
    with pytest.raises(ShapeError, match=r"of one length, at least 1, got 300, 299 and 300\. Pass one entry"):
        render(make_page(values=page.values[1:]))
    with pytest.raises(ShapeError, match="got 0, 0 and 0"):
        render(make_page(times=page.times[:0], values=page.values[:0], observed=page.observed[:0]))
    with pytest.raises(DataError, match=r"lo-99, hi-99, got no column lo-99\."):
        render(make_page(levels=(99,)))
    with pytest.raises(DataError, match="got no row"):
        render(make_page(forecast=page.forecast.head(0)))
    with pytest.raises(DataError, match="got int64 and datetime64"):
        render(make_page(times=np.arange(300)))
    two = pd.concat([page.forecast, page.forecast.assign(series="b")])
    with pytest.raises(DataError, match=r"got one history, 2 channels\. Pass histories="):
        render(make_page(forecast=two))
    with pytest.raises(DataError, match=r"model\.mae, got none"):
        render(make_page(scores={"model": {}}))


def test_importing_the_report_is_light():
    code = "import sys, unrolled.report; "
    code += "print(sorted({'matplotlib', 'pandas', 'jinja2', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
