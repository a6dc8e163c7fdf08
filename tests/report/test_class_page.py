"""The report of a classification: what it says, shows and escapes."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from unrolled.data.labelled import Labelled
from unrolled.errors import DataError
from unrolled.estimators.chance import paired_gain
from unrolled.estimators.class_scores import class_verdict, score_classes
from unrolled.report import run_classes, run_sequences
from unrolled.report.class_page import ClassPage, Example, mark_kept, render_classes
from unrolled.report.class_plots import curve_svg, image_tag, plot_reliability
from unrolled.report.number_page import NumberPage, render_numbers

RANDOM = np.random.default_rng(0)
ACTUAL = RANDOM.integers(3, size=60)


def scores(skill, classes=3, actual=ACTUAL):
    logits = RANDOM.normal(size=(len(actual), classes))
    logits[np.arange(len(actual)), actual] += skill
    return score_classes(actual, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))


def gain(mean, lo, hi):
    return {"mean": mean, "lo": lo, "hi": hi}


WINS = {"majority": gain(0.5, 0.3, 0.7), "logistic": gain(0.3, 0.1, 0.5)}


def page(model=None, baseline=None, gains=WINS, **changes):
    metrics = {
        "model": model or scores(4.0),
        "baselines": {"majority": baseline or scores(0.0), "logistic": scores(1.0)},
        "gains": gains,
        "held_out": {"sequences": 60},
        "seconds": {"train": 2.0},
    }
    given = {
        "title": "Kinds",
        "classes": ["a", "b", "<c>"],
        "metrics": metrics,
        "verdict": "It does.",
    } | changes
    return ClassPage(**given)


class Outline(HTMLParser):
    """The tags of a document, and whether each is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def outline(html):
    found = Outline()
    found.feed(html)
    assert not found.open
    return found.seen


ROWS = [{"member": 0, "epoch": e, "loss": 1 / e, "valid_loss": 2 / e, "best": e == 2} for e in (1, 2, 3)]


def test_the_page_is_whole_and_needs_nothing_else():
    html = render_classes(
        page(training=ROWS, settings={"Seed": "0"}, notes=["A note."], command="unrolled classify x")
    )
    tags = outline(html)
    assert "script" not in {tag for tag, _ in tags}
    addresses = [
        value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert "http" not in re.sub(r"data:[^\"]*", "", html).replace("http-equiv", "")
    for words in (
        "Told rightly",
        "What is taken for what",
        "Precision",
        "Surest and wrong",
        "A note.",
        "unrolled classify x",
    ):
        assert words in html
    assert "&lt;c&gt;" in html
    assert "<c>" not in html


@pytest.mark.parametrize(
    ("gains", "mark", "words"),
    [
        (WINS, "✓", "Beats every baseline"),
        (WINS | {"majority": gain(-0.2, -0.3, -0.1)}, "✗", "The model loses to majority class"),
        (WINS | {"logistic": gain(0.05, -0.02, 0.12)}, "?", "Too few held out to tell it from logistic regression"),
        (WINS | {"logistic": gain(-0.05, -0.12, 0.02)}, "?", "Too few held out to tell it from logistic regression"),
        (WINS | {"majority": gain(0.0, -0.02, 0.02)}, "=", "No better than majority class"),
        ({"mean": gain(0.5, None, None)}, "?", "Too few held out to tell it from mean"),
        ({}, "?", "Not compared with any baseline"),
    ],
)  # fmt: skip
def test_the_head_says_how_it_stands(gains, mark, words):
    html = render_classes(page(gains=gains))
    assert words in html
    assert f'class="mark" aria-hidden="true">{mark}<' in html


def test_the_best_of_each_column_is_bold():
    worse = scores(1.0) | {"log_loss": 0.001}
    rows = re.findall(
        r'<tr class="(?:is-model)?"><th scope="row">.*?</tr>', render_classes(page(baseline=worse))
    )
    bold = [[bool(cell) for cell in re.findall(r'<td class="(top)?">', row)] for row in rows]
    assert bold[0] == [True, True, False, True]
    assert bold[1] == [False, False, True, False]


def test_chance_is_that_of_mcnemar_and_of_student():
    from scipy.stats import binomtest, ttest_rel

    for wins, losses in ((6, 0), (5, 0), (20, 8), (20, 9), (30, 29), (2, 15)):
        found = paired_gain(np.repeat([1, -1, 0], [wins, losses, 100]), bounded=True)
        p = binomtest(wins, wins + losses).pvalue
        assert (not found["lo"] <= 0 <= found["hi"]) == (p < 0.05) or 0.02 < p < 0.1, (wins, losses)
    model, baseline = RANDOM.gamma(2, size=(2, 25))
    found, theirs = (
        paired_gain(baseline - model, bounded=False),
        ttest_rel(baseline, model).confidence_interval(),
    )
    assert [found["lo"], found["hi"]] == pytest.approx([theirs.low, theirs.high])
    perfect = paired_gain(np.ones(3), bounded=True)
    assert perfect["lo"] < 0.3  # three right answers are not certainty
    assert paired_gain(np.ones(1), bounded=False) == {"mean": 1.0, "lo": None, "hi": None}


def test_steps_of_a_sequence_are_no_draws_of_their_own():
    together = np.repeat(RANDOM.choice([-1, 1], size=30), 20)  # each sequence all right or all wrong
    wide, narrow = (paired_gain(together, counts, bounded=True) for counts in (np.full(30, 20), None))
    assert wide["hi"] - wide["lo"] > 3 * (narrow["hi"] - narrow["lo"])
    alone = paired_gain(together[::20], bounded=True)
    assert [wide[name] for name in alone] == pytest.approx(list(alone.values()))


def test_how_often_the_interval_holds_the_truth():
    random = np.random.default_rng(1)
    for count, share in ((10, 0.2), (40, 0.1)):
        drawn = random.choice([1, -1, 0], p=[share + 0.1, share, 0.9 - 2 * share], size=(1000, count))
        inside = [
            found["lo"] <= 0.1 <= found["hi"] for found in (paired_gain(g, bounded=True) for g in drawn)
        ]
        assert np.mean(inside) > 0.93


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import (
        accuracy_score,
        confusion_matrix,
        f1_score,
        log_loss,
        precision_score,
        recall_score,
    )

    actual = RANDOM.integers(4, size=200)
    probabilities = RANDOM.dirichlet(np.ones(4), size=200)
    found, told = score_classes(actual, probabilities), probabilities.argmax(1)
    assert found["accuracy"] == pytest.approx(accuracy_score(actual, told))
    assert found["f1"] == pytest.approx(f1_score(actual, told, average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(actual, probabilities))
    assert found["confusion"] == confusion_matrix(actual, told).tolist()
    precision = precision_score(actual, told, average=None)
    assert [entry["precision"] for entry in found["by_class"]] == pytest.approx(precision)
    recall = recall_score(actual, told, average=None)
    assert [entry["recall"] for entry in found["by_class"]] == pytest.approx(recall)


def test_calibration_is_the_gap_between_words_and_deeds():
    probabilities = np.tile([0.75, 0.25], (8, 1))
    found = score_classes(np.array([0] * 4 + [1] * 4), probabilities)
    assert found["calibration"] == [{"count": 8, "confidence": 0.75, "right": 0.5}]
    assert found["calibration_error"] == pytest.approx(0.25)


def test_a_class_that_nobody_tells_has_no_precision():
    found = score_classes(np.array([0, 0, 1]), np.tile([0.9, 0.1, 0.0], (3, 1)))
    assert found["by_class"][1]["precision"] is None
    assert found["by_class"][2] == {"precision": None, "recall": None, "f1": None, "count": 0}


@pytest.mark.parametrize(
    ("lo", "hi", "held", "kind", "words"),
    [
        (
            -0.2,
            -0.05,
            60,
            "loses",
            "worse by 10.0 points (95 % interval 5.0 to 20.0 points). Use logistic",
        ),
        (-0.2, 0.05, 60, "unknown", "worse by 10.0 points, which may be chance"),
        (
            -0.2,
            0.05,
            12,
            "unknown",
            "12 held out are too few to tell. Every score of 12 held out is a rough one",
        ),
    ],
)
def test_a_model_that_loses_is_told_so(lo, hi, held, kind, words):
    found = {
        "model": {"accuracy": 0.6},
        "baselines": {"logistic": {"accuracy": 0.7}},
        "held_out": {"sequences": held},
    }
    standing, sentence = class_verdict(found | {"gains": {"logistic": gain(-0.1, lo, hi)}})
    assert standing == kind
    assert words in sentence
    assert ("instead" in sentence) == (kind == "loses")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("<b>bold</b> & 'quoted'", "&lt;b&gt;bold&lt;/b&gt; &amp;"),
        ("long " * 500, "…</blockquote>"),
        (RANDOM.normal(size=(20, 1)), '<svg class="picture curve"'),
        (RANDOM.normal(size=7), '<svg class="picture curve"'),
        (RANDOM.normal(size=(1, 2)), '<svg class="picture curve"'),
        (np.zeros((5, 3)), '<svg class="picture curve"'),
        (RANDOM.normal(size=(8, 8)), 'src="data:image/png;base64,'),
        (np.zeros((900, 5)), 'src="data:image/png;base64,'),
        (RANDOM.normal(size=(12, 8, 9)), "6 of 12 images"),
    ],
)
def test_examples_are_shown(given, what):
    html = render_classes(page(examples=[Example("7", "<a>", "b", 0.987, 0.01, given)]))
    outline(html)
    assert what in html
    assert "98.7 %" in html
    assert "&lt;a&gt;" in html


@pytest.mark.parametrize(("features", "named"), [("x", 0), ("xy", 2), ("xyz", 3), ("wxyz", 0), ("", 0)])
def test_curves_are_named(features, named):
    given = RANDOM.normal(size=(6, len(features) or 1))
    html = render_classes(
        page(examples=[Example("7", "a", "b", 0.9, 0.1, given, 2)], features=list(features))
    )
    shown = html[html.index('id="examples"') : html.index('id="training"')]
    assert shown.count('class="swatch"') == named
    assert (", the line at step 3" in shown) == (features != "wxyz")


def test_nothing_wrong_is_said_as_well():
    assert "None of the held-out sequences was told wrongly" in render_classes(page())


def test_many_classes_are_listed_by_the_pairs_mixed_up_most():
    actual = np.arange(60) % 30
    many = scores(1.0, 30, actual)
    html = render_classes(page(model=many, classes=[f"kind {n}" for n in range(30)]))
    assert 'class="scroll matrix"' not in html
    assert "Of the class" in html


def test_pictures():
    assert image_tag(np.eye(4), 'a "b"').startswith('<img alt="a &#34;b&#34;"')
    assert curve_svg(np.arange(4.0)[:, None], "up").count("M2.0,78.0") == 1
    each = str(curve_svg(np.array([[100.0, 0.1], [101.0, 0.2], [100.0, 0.3]]), "two"))
    assert "M2.0,78.0 150.0,2.0 298.0,78.0" in each
    assert "M2.0,78.0 150.0,40.0 298.0,2.0" in each
    marked = str(curve_svg(np.arange(5.0)[:, None], "up", 3))
    assert '<path d="M224.0,0V80"' in marked
    assert marked.count("<path") == 2
    assert '<path d="M150.0,0V80"' in str(curve_svg(np.ones((1, 1)), "one", 0))
    axes = plot_reliability([{"count": 3, "confidence": 0.2, "right": 0.1}])
    assert axes.get_xlim()[0] < 0.1


def test_metrics_without_a_model_are_refused():
    with pytest.raises(DataError, match=r"metrics with model\.by_class"):
        render_classes(page(metrics={"model": {}}))


def test_what_is_mixed_up_most_comes_first():
    actual = np.repeat(np.arange(30), 4)
    told = actual.copy()
    told[4:7], told[8] = 20, 21  # kind 1 is taken for kind 20 three times, kind 2 for kind 21 once
    html = render_classes(
        page(model=score_classes(actual, np.eye(30)[told]), classes=[f"kind {n}" for n in range(30)])
    )
    rows = re.findall(
        r'<tr><th scope="row">(kind \d+)</th><td>(kind \d+)</td><td>(\d)</td><td>(.*?)</td>', html
    )
    assert rows == [("kind 1", "kind 20", "3", "75.0 %"), ("kind 2", "kind 21", "1", "25.0 %")]


def test_certainty_is_counted_and_a_wrong_one_is_not_infinitely_bad():
    found = score_classes(np.array([0, 1, 0]), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    assert found["calibration"] == [{"count": 3, "confidence": 1.0, "right": pytest.approx(2 / 3)}]
    assert np.isfinite(found["log_loss"])


def test_a_tie_is_said():
    found = {
        "model": {"accuracy": 0.7},
        "baselines": {"logistic": {"accuracy": 0.7}},
        "held_out": {"sequences": 60},
    }
    standing, sentence = class_verdict(found | {"gains": {"logistic": gain(0.0, -0.1, 0.1)}})
    assert standing == "ties"
    assert "They are equal" in sentence
    assert "instead" not in sentence


def test_an_example_says_both_probabilities():
    html = render_classes(page(examples=[Example("7", "a", "b", 0.981, 0.012, "text")]))
    assert "at 98.1 %" in html
    assert "1.2 % for the right one" in html


def test_the_epoch_kept_is_marked():
    rows = [
        {"member": m, "epoch": e, "loss": 1.0, "valid_loss": None, "best": e == 1}
        for m in (0, 1)
        for e in (1, 2, 3)
    ]
    assert [row["best"] for row in mark_kept(rows)] == [False, False, True] * 2
    assert mark_kept(ROWS) == ROWS


def number_page(**changes):
    y = RANDOM.normal(size=50)
    scores = {"mae": 0.5, "rmse": 0.7, "r2": 0.4}
    metrics = {
        "model": scores,
        "baselines": {"mean": {"mae": 1.0, "rmse": 1.2, "r2": 0.0}, "ridge": {"mae": 0.8, "rmse": 1.0, "r2": None}},
        "gains": {"ridge": gain(0.3, 0.1, 0.5)},
        "held_out": {"sequences": 50},
        "seconds": {"train": 1.0},
    }  # fmt: skip
    given = {
        "title": "Numbers",
        "metrics": metrics,
        "verdict": "It does.",
        "actual": y,
        "told": y + 0.1,
    } | changes
    return NumberPage(**given)


def test_the_page_of_numbers_is_whole():
    html = render_numbers(
        number_page(
            training=ROWS, notes=["A note."], examples=[Example("<7>", "1", "2", 0, 0, "<b>text</b>")]
        )
    )
    assert "script" not in {tag for tag, _ in outline(html)}
    for words in (
        "Beats every baseline",
        "ridge regression",
        "Told and actual",
        "&lt;b&gt;text",
        "&lt;7&gt;",
        "A note.",
    ):
        assert words in html
    assert "http" not in re.sub(r"data:[^\"]*", "", html).replace("http-equiv", "")
    metrics = number_page().metrics
    for found, words in (
        (gain(-0.3, -0.5, -0.1), "The model loses to ridge regression"),
        (gain(-0.3, -0.7, 0.1), "Too few held out to tell it from ridge regression"),
    ):
        assert words in render_numbers(number_page(metrics=metrics | {"gains": {"ridge": found}}))
    with pytest.raises(DataError, match=r"metrics with model\.mae"):
        render_numbers(number_page(metrics={"model": {}}))


def test_runs_hold_out_what_they_say(tmp_path):
    labels = ["a"] * 10 + ["b"] * 5 + ["c"]
    train, test = run_classes._part(labels, 0.9, 0)
    assert {labels[number] for number in train} == {
        "a",
        "b",
        "c",
    }  # one of each class is always learned from
    assert sorted([*train, *test]) == list(range(16))
    train, test = run_classes._part(labels, 0.2, 0)
    assert [labels[number] for number in test].count("a") == 2
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.9, 0.1]])
    worst = run_classes._worst(
        ["x", "y", "z"], np.arange(3), np.zeros(3, int), probabilities, ["a", "b"], None
    )
    assert [(example.name, example.sure, example.chance) for example in worst] == [
        ("1", 0.9, 0.1),
        ("0", 0.6, 0.4),
    ]
    worst = run_classes._worst(
        [["u", "v"], ["w"]],
        np.array(["p", "q"]),
        np.zeros(3, int),
        probabilities,
        ["a", "b"],
        np.array([2, 1]),
    )
    assert [(example.name, example.given) for example in worst] == [
        ("p, step 2", "u [v]"),
        ("p, step 1", "[u] v"),
    ]


def test_groups_belong_together_and_leave_training_its_classes():
    data = Labelled([0] * 6, np.array(list("aabbab")), np.arange(6), groups=np.array([1, 1, 2, 2, 3, 3]))
    classes = [{label} for label in data.labels]
    for seed in range(20):
        train, test, how = run_sequences.asked_parts(data, classes, 0.3, seed)
        assert len(set(data.groups[train]) & set(data.groups[test])) == 0
        assert {data.labels[n] for n in train} == {"a", "b"}
        assert how == "1 of 3 groups, whole"
    alone = Labelled([0] * 4, np.array(list("aabb")), np.arange(4), groups=np.array([1, 1, 2, 2]))
    with pytest.raises(DataError, match="a group that can be held out, got 2"):
        run_sequences.asked_parts(alone, [{label} for label in alone.labels], 0.3, 0)
    gains, test = np.array([1.0, -1, 1, -1]), np.array([0, 2, 1, 3])
    found = run_sequences.gain_over(gains, data, test, None, bounded=True)
    assert found == paired_gain(np.array([1.0, 1, -1, -1]), np.array([2, 2]), bounded=True)
