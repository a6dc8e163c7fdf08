"""The published experiments: what decides on their data and figures, and that they run as a whole."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import unrolled as ur
from unrolled.cli import _run
from unrolled.errors import MissingDataError, OptionError
from unrolled.recipes import Recipe, Row, chicago, choose, generated, reproduce, sines
from unrolled.report.published import Plot, as_json, as_markdown, cells, render_published


def test_chicagos_windows(rides):
    learn, valid = chicago.learn(), chicago.valid()
    assert len(learn.rail) == 1096 and (str(valid.days[0])[:10], str(valid.days[-1])[:10]) == (
        "2019-01-01",
        "2019-05-31",
    )
    np.testing.assert_allclose(learn.rail[:2], [0.002, 0.004])
    np.testing.assert_allclose(learn.both[1], [0.002, 0.004])  # bus, rail
    # bus, rail, and the next day's type: A, U, W; day 1 is A, day 2 is U
    np.testing.assert_allclose(learn.five[:2], [[0.001, 0.002, 0, 1, 0], [0.002, 0.004, 0, 0, 1]])
    data = valid.next_day(chicago.column(valid.rail), chicago.column(valid.rail))
    assert data.windows.shape == (95, 56, 1) and data.targets.shape == (95, 1)
    assert str(valid.days[56])[:10] == "2019-02-26"  # the first target, as published
    np.testing.assert_allclose(data.targets[0] - data.windows[0, -1], 0.002, rtol=1e-4)
    x, y = learn.fortnight()
    assert x.shape == (1027, 56, 5) and y.shape == (1027, 14)
    np.testing.assert_allclose(y[3] - x[3, -1, 1], 0.002 * np.arange(1, 15), rtol=1e-4)
    x, y = learn.every_fortnight()
    assert x.shape == (1027, 56, 5) and y.shape == (1027, 56, 14)
    np.testing.assert_allclose(y - x[..., 1:2], np.broadcast_to(0.002 * np.arange(1, 15), y.shape), rtol=1e-3)


def test_errors_are_those_of_the_last_step_in_riders():
    class Constant(nn.Module):
        def forward(self, past):
            return torch.full((*past.shape[:2], 14), 0.5)

    run = ur.TrainingRun([Constant(), Constant()])
    y = np.zeros((3, 56, 14), np.float32)
    y[:, -1] = np.linspace(0.4, 0.6, 14)
    found = chicago.errors(run, (np.zeros((3, 56, 5), np.float32), y))
    assert found.shape == (2, 3, 14)
    np.testing.assert_allclose(
        found[0, 0], 1e6 * np.abs(0.5 - np.linspace(0.4, 0.6, 14)), rtol=1e-4, atol=0.1
    )


def test_the_published_week_ago(rides):
    (naive, *_) = chicago.conventional(1, quick=True)
    assert naive.found == pytest.approx((7 * 2000,)) and naive.published == 42_143


def test_sines_and_the_generated_series():
    waves = sines.generate(2000)
    assert waves.shape == (2000, 51, 1) and np.abs(waves).max() < 0.76
    assert np.std(np.diff(waves[:, :, 0], n=3)) > 0.05  # the noise
    x, y = generated.windows(np.array([0.0, 12.2]))
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    t = 12.2 + 0.1 * 20
    assert y[1, -1, 0] == pytest.approx(t * np.sin(t) / 3 + 2 * np.sin(5 * t), rel=1e-5)


def test_the_network_goes_on_from_its_own_last_twenty():
    class Next(nn.Module):
        def forward(self, past):
            assert past.shape == (1, 20, 1)
            return past + 1

    made = generated.go_on(Next(), np.arange(20, dtype=np.float32), 5)
    assert made.tolist() == [20, 21, 22, 23, 24]


def test_rows_say_how_far_they_are():
    lower = Row("E5b", "SimpleRNN(32)", "riders a day", 100.0, (90.0, 120.0, 110.0), 3.0, "a note | of two")
    assert (lower.median, lower.reached) == (110.0, False) and "worse by 10.0 %" in cells(lower)
    higher = Row("E3", "x", "accuracy", 0.98, (0.97,), lower=False)
    assert higher.reached is False and "worse by 1.00 points" in cells(higher)
    assert Row("E3", "x", "accuracy", 0.98, (0.981,), lower=False).reached
    assert Row("E5a", "x", "riders a day", 42_143.0, (42_143.4,)).reached  # as printed
    nothing = Row("E6", "x", "accuracy", 0.98, (), note="no data")
    assert nothing.reached is None and cells(nothing)[3] == "–"
    text = as_markdown([lower, nothing], {"threads": "2"})
    assert text.count("\n|") == 4 and all(
        line.replace(r"\|", "").count("|") == 9 for line in text.splitlines() if line.startswith("|")
    )


def test_names_choose_experiments():
    assert [recipe.name for recipe in choose(["e5d", "E1"])] == ["E1", "E5d"]
    assert {recipe.name for recipe in choose(["E5"])} == {
        r.name for r in choose([]) if r.name.startswith("E5")
    }
    with pytest.raises(OptionError, match=r"reproduce: expected names among E1, .*, got 'E9'"):
        choose(["E9"])


def test_what_quick_cuts_short_is_not_judged():
    def rows(seeds, quick):
        yield Row("E1", "naive", "MSE", 0.02, (0.01,))
        yield Row("E1", "linear", "MSE", 0.02, (0.03,), seconds=2.0)

    recipe = Recipe("E1", "both", rows)
    assert [row.reached for row in reproduce([recipe], quick=True)] == [True, None]
    assert [row.reached for row in reproduce([recipe])] == [True, False]


def test_what_lacks_data_is_said_and_the_rest_runs():
    def lacking(seeds, quick):
        raise MissingDataError("mnist.npz", "a download", "no network", "Put it into $UNROLLED_DATA.")
        yield

    def fine(seeds, quick):
        yield Row("E9", "fine", "MSE", None, (float(seeds),))

    found = list(reproduce([Recipe("E3", "MNIST", lacking), Recipe("E9", "fine", fine)], seeds=3))
    assert "no network" in found[0].note and found[0].found == () and found[1].found == (3.0,)


def test_the_range_is_that_of_the_seeds():
    several = cells(Row("E1", "x", "MSE", 0.5, (0.3, 0.1, 0.8, 0.4, 0.2)))
    assert several[3:6] == ("0.3000", "0.1000 to 0.8000", "reached")
    assert cells(Row("E1", "x", "MSE", 0.5, (0.3,)))[3:5] == ("0.3000", "")


def test_rows_without_figures_stand_in_every_table():
    rows = [
        Row("E1", "reached", "MSE", 0.5, (0.3,)),
        Row("E1", "not reached", "MSE", 0.5, (0.7,)),
        Row("E3", "nothing <i>came</i>", "accuracy", 0.98, (), note="no <b>data</b>", lower=False),
    ]
    page = render_published(rows, [], {"a fact": "<u>"}, "unrolled reproduce '<s>'")
    assert "nothing &lt;i&gt;came" in page and "no &lt;b&gt;data" in page
    assert not any(tag in page for tag in ("<i>", "<b>", "<u>", "<s>"))
    assert "1 of 2 published figures" in page
    assert "| E3 | nothing <i>came</i> | 0.9800 | – |" in as_markdown(rows, {})
    found = as_json(rows, {})["rows"]
    assert [(row["what"], row["median"], row["reached"]) for row in found] == [
        ("reached", 0.3, True),
        ("not reached", 0.7, False),
        ("nothing <i>came</i>", None, None),
    ]
    assert found[2]["note"] == "no <b>data</b>" and found[0]["seconds"] == 0.0


def test_the_command(tmp_path, capsys, monkeypatch):
    def short(seeds, quick):
        yield Row("E1", "a [b]row[/b] <i>", "MSE", 0.5, (0.25,) * seeds, 1.5, "noted")
        yield Plot("E1", "Title", "It rises.", lambda axes: axes.plot([1, 2], label="a line"))

    monkeypatch.setattr("unrolled.recipes.recipes", lambda: (Recipe("E1", "short", short),))
    out = tmp_path / "found"
    assert _run(["reproduce", "E1", "--seeds", "2", "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    assert "a [b]row[/b] <i>" in printed.err and "published 0.5000; ours 0.2500" in printed.err
    assert json.loads(printed.out)["rows"][0]["found"] == [0.25, 0.25]
    assert json.loads((out / "results.json").read_text())["rows"][0]["reached"] is True
    page = (out / "report.html").read_text()
    assert "1 of 1 published figures" in page and "a line" in page and "<i>" not in page
    assert "| E1 | a [b]row[/b] <i> |" in (out / "results.md").read_text()
    for words, message in ((["E7"], "names among E1"), (["--seeds", "0"], "seeds of at least 1"),
                           (["--seeds", "1001"], "seeds of at most 1,000")):  # fmt: skip
        assert _run(["reproduce", *words, "--out", str(tmp_path / "new")]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "new").exists()
    assert _run(["reproduce", "--out", str(out)]) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert json.loads((out / "results.json").read_text())["rows"][0]["found"] == [0.25, 0.25]
    assert _run(["reproduce", "--seeds", "3", "--out", str(out), "--overwrite"]) == 0
    assert json.loads((out / "results.json").read_text())["rows"][0]["found"] == [0.25] * 3
    assert _run(["reproduce", "--seeds", "3", "--quick", "--out", str(tmp_path / "quick")]) == 0
    assert len(json.loads((tmp_path / "quick" / "results.json").read_text())["rows"][0]["found"]) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    capsys.readouterr()
    assert _run(["reproduce", "--out", str(tmp_path / "mine"), "--overwrite"]) == 2
    assert (
        "something that is not a run" in capsys.readouterr().err
        and (tmp_path / "mine" / "thesis.txt").exists()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found", "mine", "quick"]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (OptionError("a", "b", "c"), 2)])
def test_what_is_cut_short_leaves_nothing(tmp_path, capsys, monkeypatch, error, code):
    def cut(seeds, quick):
        yield Row("E1", "first", "MSE", 0.5, (0.25,))
        assert [path.name for path in tmp_path.iterdir()] == ["found.partial"]
        raise error

    monkeypatch.setattr("unrolled.recipes.recipes", lambda: (Recipe("E1", "cut", cut),))
    assert _run(["reproduce", "--out", str(tmp_path / "found"), "--json"]) == code
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out


def test_a_page_without_plots():
    assert '<h2 id="plots">' not in render_published([Row("E1", "x", "MSE", None, (1.0,))], [], {})


def quick(*names):
    rows = [row for row in reproduce(choose(names), seeds=2, quick=True) if isinstance(row, Row)]
    if any(not row.found for row in rows):
        pytest.skip("needs the ridership of Chicago")
    return {row.what: row.median for row in rows}


@pytest.mark.slow
def test_the_order_that_the_decks_teach_of_waves():
    """Quick runs: errors fall from naive over linear to recurrent."""
    median = quick("E1")
    assert (
        median["naive: the last value"] > median["linear"] > median["SimpleRNN(20), SimpleRNN(20), Dense(1)"]
    )


@pytest.mark.slow
def test_the_order_that_the_decks_teach_of_trains():
    """Quick runs: errors of the next day fall from naive over linear and recurrent to recurrent with five inputs."""
    median = quick("E5a", "E5b", "E5d")
    assert (
        median["naive: a week ago, March to May 2019"] > median["linear"] > median["SimpleRNN(32)"]
        > median["five inputs: rail"]
    )  # fmt: skip
