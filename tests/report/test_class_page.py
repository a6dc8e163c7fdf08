"""The report of a classification: what it says, shows and escapes."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.estimators.class_scores import class_verdict, score_classes
from unrolled.report.class_page import ClassPage, Example, render_classes
from unrolled.report.class_plots import curve_svg, image_tag, plot_reliability

RANDOM = np.random.default_rng(0)
ACTUAL = RANDOM.integers(3, size=60)


def scores(skill, classes=3, actual=ACTUAL):
    logits = RANDOM.normal(size=(len(actual), classes))
    logits[np.arange(len(actual)), actual] += skill
    return score_classes(actual, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))


def page(model=None, baseline=None, **changes):
    metrics = {
        "model": model or scores(4.0),
        "baselines": {"majority": baseline or scores(0.0), "logistic": scores(1.0)},
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


@pytest.mark.parametrize(("model", "words"), [(4.0, "Beats every baseline"), (-4.0, "The model loses to")])
def test_the_head_says_how_it_stands(model, words):
    assert words in render_classes(page(model=scores(model)))
    same = scores(4.0)
    assert "No better than majority class" in render_classes(page(model=same, baseline=same))


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


def test_a_model_that_loses_is_told_so():
    wins, sentence = class_verdict({"model": {"accuracy": 0.6}, "baselines": {"logistic": {"accuracy": 0.7}}})
    assert not wins
    assert "Use logistic regression instead" in sentence


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
    axes = plot_reliability([{"count": 3, "confidence": 0.2, "right": 0.1}])
    assert axes.get_xlim()[0] < 0.1


def test_metrics_without_a_model_are_refused():
    with pytest.raises(DataError, match=r"metrics with model\.by_class"):
        render_classes(page(metrics={"model": {}}))
