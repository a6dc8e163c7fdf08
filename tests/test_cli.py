"""The command line, as a user runs it: in a process of its own, judged by what it prints, writes and returns."""

import json
import logging
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import unrolled as ur
from unrolled import cli

RUN_FILES = [
    "config.json",
    "forecast.csv",
    "history.jsonl",
    "metrics.json",
    "model.safetensors",
    "report.html",
    "timing.jsonl",
]


def quick(words):
    """Leave out SARIMA and ETS, which take seconds, unless they are asked for."""
    forecasts = words[:1] and words[0] in ("forecast", "backtest") and "--statistical" not in words
    return (*words, "--no-statistical") if words and forecasts else words


def process(*words, cwd, code=0, **variables):
    """Run the command in a process of its own."""
    words = quick(words)
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", *map(str, words)], cwd=cwd, capture_output=True, text=True,
        env=os.environ | {"COLUMNS": "80"} | variables, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def unrolled(monkeypatch, capfd):
    """Run the command in this process, which saves its imports."""

    def run(*words, cwd, code=0):
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "80")
        capfd.readouterr()
        found = cli._run([str(word) for word in quick(words)])
        captured = capfd.readouterr()
        assert found == code, captured.err
        return SimpleNamespace(stdout=captured.out, stderr=captured.err)

    logger = logging.getLogger("unrolled")
    before = logger.handlers, logger.propagate
    yield run
    logger.handlers, logger.propagate = before


def wave(rows=600, season=12):
    """A signal that a recurrent network can continue and a repeated season cannot: two periods and a trend."""
    t = np.arange(rows)
    noise = np.random.default_rng(0).normal(size=rows)
    return 50 + 8 * np.sin(2 * np.pi * t / season) + 5 * np.sin(2 * np.pi * t / 31) + 0.02 * t + 0.5 * noise


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    days = pd.date_range("2018-01-01", periods=600)
    frame = pd.DataFrame({"day": days.strftime("%m/%d/%Y"), "sold": wave().round(3), "shop": "north"})
    frame.to_csv(folder / "sales.csv", index=False)
    frame[:560].to_csv(folder / "early.csv", index=False)
    frame[555:].to_csv(folder / "late.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(place):
    return process(
        "forecast", "early.csv", "--target", "sold", "--time", "day", "--horizon", 7, "--members", 1, "--out", "run",
        "--statistical", "--model", "gru", cwd=place,
    )  # fmt: skip


def test_a_forecast_from_end_to_end(place, run):
    assert sorted(path.name for path in (place / "run").iterdir()) == RUN_FILES
    assert run.stdout == ""
    for words in ("Read 560 rows of 'sold': daily, 2018-01-01 to 2019-07-14", "read dates as month/day/year",
                  "the last 84 rows are held out", "linear (ridge)", "seasonal naive", "2019-07-15", "Report: run/report.html"):  # fmt: skip
        assert words in run.stderr
    assert max(map(len, run.stderr.splitlines())) <= 80
    assert "\x1b" not in run.stderr
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert set(metrics["baselines"]) == {
        "naive", "seasonal_naive", "seasonal_naive_7", "drift", "linear", "sarima", "ets"
    }  # fmt: skip
    assert re.search(
        r"Held-out values inside: \d+% of the 80 % interval, \d+% of the 95 % interval", run.stderr
    )
    assert len(metrics["model"]["mae_by_step"]) == 7
    assert metrics["held_out"]["windows"] == 84 - 7 + 1
    assert metrics["model"]["mae"] < 0.8 * metrics["baselines"]["seasonal_naive"]["mae"]
    assert metrics["model"]["mae"] < 0.5 * metrics["baselines"]["naive"]["mae"]
    assert list(metrics["seconds"]) == ["prepare", "first training", "training", "backtest", "forecast"]
    assert metrics["seconds"]["training"] > 0
    forecast = pd.read_csv(place / "run" / "forecast.csv")
    assert list(forecast.columns) == [
        "series", "target", "origin", "step", "time", "mean", "lo-80", "hi-80", "lo-95", "hi-95"]  # fmt: skip
    assert np.abs(forecast["mean"] - wave()[560:567]).max() < 4
    history = [json.loads(line) for line in (place / "run" / "history.jsonl").read_text().splitlines()]
    assert history and not any("second" in key or "time" in key for key in history[0])
    page = (place / "run" / "report.html").read_text()
    assert "Forecast of sold" in page
    assert "unrolled forecast early.csv" in page


def test_no_pickle_anywhere(place, run):
    for path in (place / "run").iterdir():
        start = path.read_bytes()[:2]
        assert start[:1] != b"\x80" and start != b"PK", path


def test_predict_from_the_saved_run(place, run, unrolled):
    again = unrolled("predict", "run", "--json", cwd=place)
    found = pd.DataFrame(json.loads(again.stdout)["forecast"])
    saved = pd.read_csv(place / "run" / "forecast.csv")
    assert found["mean"].tolist() == pytest.approx(saved["mean"].tolist(), abs=1e-9)
    newer = unrolled("predict", "run", "late.csv", "--out", "new/f.csv", cwd=place)
    assert "Written: new/f.csv" in newer.stderr
    forecast = pd.read_csv(place / "new" / "f.csv", parse_dates=["time", "origin"])
    assert forecast["origin"][0] == pd.Timestamp("2019-08-23")
    whole = ur.load(place / "run").predict(place / "sales.csv")
    assert forecast["mean"].tolist() == pytest.approx(whole["mean"].tolist(), rel=1e-5)
    refused = unrolled("predict", "run", "--out", "new/f.csv", cwd=place, code=2)
    assert "one that exists" in refused.stderr


def test_json_is_all_there_is_on_standard_output(place, unrolled):
    done = unrolled(
        "forecast", "sales.csv", "--target", "sold", "--model", "linear", "--horizon", 3, "--json", cwd=place
    )
    found = json.loads(done.stdout)
    assert found["out"] == "runs/sales-sold"
    assert [row["step"] for row in found["forecast"]] == [1, 2, 3]
    assert (
        found["model"]["mae"]
        == json.loads((place / "runs/sales-sold/metrics.json").read_text())["model"]["mae"]
    )
    second = unrolled(
        "forecast",
        "sales.csv",
        "--target",
        "sold",
        "--model",
        "linear",
        "--levels",
        50,
        "90",
        "--json",
        cwd=place,
    )
    assert json.loads(second.stdout)["out"] == "runs/sales-sold-2"
    assert "lo-90" in json.loads(second.stdout)["forecast"][0]


def test_the_same_command_gives_the_same_bits(place, run):
    words = (
        "--target",
        "sold",
        "--time",
        "day",
        "--horizon",
        7,
        "--members",
        1,
        "--model",
        "gru",
        "--out",
        "twin",
    )
    process("forecast", "early.csv", *words, cwd=place, OMP_NUM_THREADS="1")
    for name in ("model.safetensors", "history.jsonl", "forecast.csv", "config.json"):
        assert (place / "twin" / name).read_bytes() == (place / "run" / name).read_bytes(), name


def test_a_losing_model_is_said_to_lose(place, unrolled):
    noise = 0.05 * np.random.default_rng(3).normal(size=300)  # a wave that ends where the held-out rows begin
    wave = np.where(np.arange(300) < 255, np.sin(2 * np.pi * np.arange(300) / 12), 0.0) + noise
    pd.DataFrame({"y": wave}).to_csv(place / "walk.csv", index=False)
    done = unrolled("forecast", "walk.csv", "--members", 1, "--horizon", 5, "--out", "lost", cwd=place)
    metrics = json.loads((place / "lost" / "metrics.json").read_text())
    assert metrics["model"]["mae"] > metrics["baselines"]["naive"]["mae"], (
        "this series no longer shows what it should"
    )
    assert re.search(r"The model LOSES to .*naive \(last value\)", done.stderr)
    assert "loses" in (place / "lost" / "report.html").read_text()


def test_a_constant_series_is_forecast_with_a_warning(place, unrolled):
    pd.DataFrame({"y": [5.0] * 80}).to_csv(place / "flat.csv", index=False)
    done = unrolled("forecast", "flat.csv", "--horizon", 3, "--out", "flat", cwd=place)
    assert "Column 'y' is constant (5)" in done.stderr
    assert pd.read_csv(place / "flat" / "forecast.csv")["mean"].tolist() == [5.0] * 3


SALES = ["forecast", "sales.csv", "--target", "sold", "--model", "linear", "--out", "bad"]
BAD = [
    (["forecast", "none.csv"], "none.csv: expected a file, got no such file"),
    (["forecast", "empty.csv"], "got an empty file"),
    (["forecast", "header.csv"], "got a header and no row"),
    (["forecast", "sales.csv", "--target", "slod"], "Did you mean 'sold'?"),
    (["forecast", "sales.csv", "--target", "sold", "--time", "dya"], "Did you mean 'day'?"),
    (["forecast", "sales.csv", "--target", "shop"], "line 2, column 'shop': expected a number, got 'north'"),
    (["forecast", "dates.csv", "--target", "y"], "line 5, column 'ds': expected a date or time"),
    (["forecast", "twice.csv", "--target", "y"], "2020-01-03 with different values (2 and 99)"),
    (["forecast", "irregular.csv", "--target", "y"], "expected regular times"),
    (["forecast", "infinite.csv", "--target", "y"], "expected a finite number, got 'inf'"),
    (["forecast", "short.csv", "--target", "y"], "at least 46 rows for a window of 4 steps, a horizon of 14 and 15% held out, got 20"),
    (["forecast", "gaps.csv", "--target", "y", "--gaps", "refuse"], "expected no gaps"),
    ([*SALES, "--gaps", "mend"], "'fill' or 'refuse', got 'mend'"),
    ([*SALES, "--horizon", "0"], "horizon of at least 1, got 0"),
    ([*SALES, "--horizon", "x"], "Invalid value for '--horizon'"),
    ([*SALES, "--horizon", "900"], "rows for a window"),
    ([*SALES, "--test-size", "1.5"], "a share between 0 and 1, got 1.5"),
    ([*SALES, "--levels", "120"], "levels between 1 and 100"),
    ([*SALES[:5], "arima"], "model one of auto, rnn, lstm, gru, conv-gru, wavenet, linear, got 'arima'"),
    ([*SALES[:5], "linear", "--out", "taken"], "something that is not a run"),
    ([*SALES[:5], "linear", "--out", "run"], "already holds a run"),
    ([*SALES[:5], "linear", "--out", "sales.csv/run"], "a place that can be written"),
    ([*SALES, "--colour", "red"], "No such option"),
    (["forecats", "sales.csv"], "No such command"),
    (["predict", "nowhere"], "a run folder, got no such folder"),
    (["predict", "taken"], "config.json and model.safetensors"),
    (["predict", "broken"], "a damaged or foreign one"),
    (["predict", "run", "walk.csv"], "a column 'sold'"),
    (["predict", "run", "none.csv"], "no such file"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad_place(place, run):
    days = pd.date_range("2020-01-01", periods=100).strftime("%Y-%m-%d").tolist()
    values = [float(n) for n in range(100)]

    def write(name, dates, numbers):
        text = "".join(f"{date},{number}\n" for date, number in zip(dates, numbers, strict=True))
        (place / name).write_text("ds,y\n" + text)

    irregular = [days[n] for n in (0, 1, 4, 6, 11, 12, 20, 25, 33, 40, 44, 52, 60, 61, 70, 77, 88, 90, 97)]
    (place / "empty.csv").touch()
    (place / "header.csv").write_text("ds,y\n")
    write("dates.csv", [*days[:3], "next week", *days[4:]], values)
    write("twice.csv", [*days, days[2]], [*values, 99])
    write("irregular.csv", irregular, values[: len(irregular)])
    write("infinite.csv", days, [*values[:50], "inf", *values[51:]])
    write("short.csv", days[:20], values[:20])
    write("gaps.csv", days[:40] + days[42:], values[:40] + values[42:])
    write("walk.csv", days, values)
    (place / "taken").mkdir(exist_ok=True)
    (place / "taken" / "thesis.txt").touch()
    (place / "broken").mkdir(exist_ok=True)
    (place / "broken" / "config.json").write_text('{"format_version": 3, "estimator": "Forecaster"}')
    (place / "broken" / "model.safetensors").write_bytes(b"\x00" * 64)
    return place


@pytest.mark.parametrize(
    ("words", "message"), BAD, ids=[" ".join(words[:1] + words[-2:]) for words, _ in BAD]
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(bad_place, words, message, unrolled):
    before = sorted(path.name for path in bad_place.iterdir())
    done = unrolled(*words, cwd=bad_place, code=2)
    assert message in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert done.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in bad_place.iterdir()) == before


def test_overwrite_replaces_a_run(place, unrolled):
    words = ("forecast", "sales.csv", "--target", "sold", "--model", "linear", "--out", "again")
    unrolled(*words, "--horizon", 2, cwd=place)
    unrolled(*words, "--horizon", 5, "--overwrite", cwd=place)
    assert len(pd.read_csv(place / "again" / "forecast.csv")) == 5
    assert not list(place.glob("again.*"))


def test_a_fault_of_ours_is_exit_code_1(place):
    script = (
        "import sys, unrolled.cli as cli\n"
        "import unrolled.data.table as table\n"
        "def broken(*a, **k): raise KeyError('inside')\n"
        "table.read_table = broken\n"
        "sys.argv = ['unrolled', 'forecast', 'sales.csv']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_info_and_help(place, unrolled):
    info = json.loads(unrolled("info", "--json", cwd=place).stdout)
    assert info["unrolled"] == ur.__version__
    assert {"torch", "recurrent kernels", "C++ kernels", "threads", "processor features"} <= set(info)
    assert "torch" in unrolled("info", cwd=place).stderr
    for words in ([], ["forecast"], ["predict"], ["demo"], ["info"]):
        assert "Usage" in unrolled(*words, "--help", cwd=place).stdout
    assert "Usage" in unrolled(cwd=place).stdout


def test_demo(tmp_path, unrolled):
    for _ in range(2):  # the second one replaces its own run
        done = unrolled("demo", "--members", 1, cwd=tmp_path)
        assert "Read 2,284 rows of 'co2': weekly" in done.stderr
        assert "Filled 22 gaps, 59 steps of 2,284" in done.stderr
        assert "Report: runs/demo/report.html" in done.stderr
    metrics = json.loads((tmp_path / "runs" / "demo" / "metrics.json").read_text())
    assert metrics["model"]["mae"] < 0.3 * metrics["baselines"]["seasonal_naive"]["mae"]
    assert 0.7 < metrics["model"]["coverage"]["80"] < 0.95


@pytest.mark.slow
def test_ridership(tmp_path, ridership_csv):
    """The issue's command; then the same up to 2020-02-29, where the default model must beat the seasonal naive."""
    words = ("--time", "service_date", "--target", "rail_boardings", "--horizon", 14)
    done = process("forecast", ridership_csv, *words, "--out", "whole", cwd=tmp_path)
    said = " ".join(done.stderr.split())  # lines are wrapped
    assert "daily, 2001-01-01 to 2021-11-30" in said
    assert "Removed 62 exact duplicate rows (2011-10-01 to 2011-10-31, 2014-07-01 to 2014-07-31)" in said
    frame = pd.read_csv(ridership_csv)
    frame = frame[pd.to_datetime(frame.service_date, format="%m/%d/%Y") <= "2020-02-29"]
    frame.to_csv(tmp_path / "cut.csv", index=False)
    process("forecast", "cut.csv", *words, "--out", "cut", cwd=tmp_path)
    metrics = json.loads((tmp_path / "cut" / "metrics.json").read_text())
    assert metrics["model"]["mae"] < metrics["baselines"]["seasonal_naive"]["mae"]
    assert metrics["model"]["mae"] < metrics["baselines"]["linear"]["mae"]


def test_known_columns_and_the_template_for_them(place, unrolled):
    days = pd.date_range("2020-01-01", periods=300)
    sale = np.random.default_rng(0).random(300) < 0.3
    table = pd.DataFrame(
        {"ds": days, "y": 5.0 * sale + np.arange(300) / 100, "sale": np.where(sale, "yes", "no")}
    )
    table[:290].to_csv(place / "shop.csv", index=False)
    words = ["forecast", "shop.csv", "--target", "y", "--known", "sale", "--horizon", 2, "--members", 1]
    assert "known column 'sale'" in unrolled(*words, cwd=place, code=2).stderr
    words += ["--future", "next.csv", "--out", "shop"]
    said = unrolled(*words, cwd=place, code=2).stderr
    assert "Written as a template" in said and not (place / "shop").exists()
    rows = pd.read_csv(place / "next.csv")
    assert rows["ds"].tolist() == ["2020-10-17", "2020-10-18"] and rows["sale"].isna().all()
    rows.assign(sale=["yes", "no"]).to_csv(place / "next.csv", index=False)
    found = json.loads(unrolled(*words, "--json", cwd=place).stdout)
    first, second = (row["mean"] for row in found["forecast"])
    assert first - second > 4
    assert not list((place / "shop").glob("stage-*"))
    done = unrolled("predict", "shop", "--future", "next.csv", "--json", cwd=place)
    assert json.loads(done.stdout)["forecast"][0]["mean"] == pytest.approx(first)


def shops(rows=160):
    """Two series of two targets, a row for each and day."""
    parts = [
        pd.DataFrame({
            "shop": name, "day": pd.date_range("2021-01-01", periods=rows - short), "region": name[0],
            "sold": (level * (1 + 0.3 * np.sin(2 * np.pi * np.arange(rows - short) / 7))).round(3),
        })
        for name, level, short in (("a1", 10.0, 0), ("b2", 200.0, 30))
    ]  # fmt: skip
    return pd.concat(parts).assign(returned=lambda frame: 0.1 * frame["sold"] + 1)


SHOPS = ["--series", "shop", "--target", "sold", "--target", "returned", "--static", "region", "--horizon", 3, "--model", "linear"]  # fmt: skip


def test_many_series_and_their_newer_rows(place, unrolled):
    frame = shops()
    frame.to_csv(place / "shops.csv", index=False)
    said = unrolled("forecast", "shops.csv", *SHOPS, "--out", "shops", cwd=place).stderr
    assert "Read 290 rows of 2 series of 'sold' and 'returned'" in said and "Forecast of sold of a1" in said
    assert "… and 1 more." in said
    made = pd.read_csv(place / "shops" / "forecast.csv")
    assert made.groupby(["series", "target"]).size().to_dict() == {
        (shop, target): 3 for shop in ("a1", "b2") for target in ("returned", "sold")
    }
    assert sorted(json.loads((place / "shops" / "metrics.json").read_text())["targets"]) == [
        "returned",
        "sold",
    ]
    again = unrolled("predict", "shops", "shops.csv", "--json", cwd=place)
    found = pd.DataFrame(json.loads(again.stdout)["forecast"])
    np.testing.assert_allclose(found["mean"], made["mean"], rtol=1e-5)
    newer = shops(163).groupby("shop").tail(4)
    newer.to_csv(place / "newer.csv", index=False)
    found = json.loads(unrolled("predict", "shops", "newer.csv", "--json", cwd=place).stdout)["forecast"]
    assert {row["origin"][:10] for row in found} == {"2021-06-12", "2021-05-13"}


def test_backtest(place, unrolled):
    shops().to_csv(place / "shops.csv", index=False)
    words = [
        "backtest",
        "shops.csv",
        *SHOPS,
        "--first-origin",
        "2021-05-01",
        "--stride",
        4,
        "--out",
        "errors.csv",
    ]
    done = unrolled(*words, "--json", cwd=place)
    found, rows = json.loads(done.stdout), pd.read_csv(place / "errors.csv")
    assert found["model"]["mae"] == pytest.approx((rows["actual"] - rows["mean"]).abs().mean())
    assert rows["origin"].min() == "2021-05-01"
    assert "seasonal naive" in done.stderr and "Written: errors.csv" in done.stderr
    assert "expected a new file" in unrolled(*words, cwd=place, code=2).stderr
    for option, value, message in (
        ("--refit", "weekly", "'never', 'always' or a number of origins, got 'weekly'"),
        ("--budget", "soon", "a time above 0, as 30s or 2m, got 'soon'"),
        ("--first-origin", "1999-01-01", "rows up to it, the first is 2021-01-01"),
        ("--first-origin", "2021-06-08", "3 rows after it, got 2021-06-08, too near the end"),
        ("--first-origin", "soon", "an origin that is a time, got 'soon'"),
        ("--stride", 0, "a stride of at least 1, got 0"),
        ("--last-origin", "2021-04-01", "on, the first origin, got 2021-04-01"),
        ("--levels", 100, "levels between 1 and 100 percent"),
    ):
        bad = unrolled("backtest", "shops.csv", *SHOPS, option, value, "--out", "not.csv", cwd=place, code=2)
        assert message in bad.stderr and len(bad.stderr.strip().splitlines()) <= 2
        assert not (place / "not.csv").exists()
