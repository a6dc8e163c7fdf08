"""The page in a real browser: it loads, logs nothing, asks for nothing, its plots have size, and it fits.

Chromium is driven by its command line alone. The page is measured from outside, as the `srcdoc` of a frame of
the width wanted: so it stays as it is, its ban on scripts included, and may be narrower than a window can be.
"""

import html
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from unrolled.report import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"

# In the frame: each plot that is shown with its size, and whatever reaches beyond the right edge.
MEASURE = """
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const boxes = [...page.querySelectorAll("svg.plot")].map(plot => plot.getBoundingClientRect());
  const beyond = [...page.querySelectorAll("body *:not(svg *)")].filter(element =>
    element.getBoundingClientRect().right > root.clientWidth + 0.5
    && !element.parentElement.closest(".scroll, pre"));
  document.querySelector("output").textContent = JSON.stringify({
    plots: boxes.filter(box => box.width > 0).map(box => [box.width, box.height]),
    width: root.clientWidth, scrollWidth: root.scrollWidth,
    beyond: beyond.map(element => element.outerHTML.slice(0, 80)),
    text: [...page.querySelectorAll("svg.plot text")].filter(text => text.getBoundingClientRect().width > 0)
      .map(text => text.getBoundingClientRect().height),
  });
});
</script>
<output></output>
"""


@pytest.fixture(scope="module")
def chromium():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        reason = f"NO BROWSER: none of {', '.join(BROWSERS)} is installed, the page was not looked at"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; under CI it must be: apt-get install chromium")
        pytest.skip(reason)
    return found


@pytest.fixture
def browse(chromium, tmp_path):
    """`browse(page, *options)` opens a page and returns (the document as text, the console's lines)."""

    def browse(page: str, *options: str) -> tuple[str, list[str]]:
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        # a profile in use by another browser would hand the page to that one
        profile = tmp_path / f"profile{len(list(tmp_path.iterdir()))}"
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                "--virtual-time-budget=3000",
                f"--user-data-dir={profile}",
                "--enable-logging=stderr",
                *options,
                path.as_uri(),
            ],
            capture_output=True,
            timeout=120,
        )
        errors = done.stderr.decode(errors="replace")
        assert done.returncode == 0, errors[-2000:]
        return done.stdout.decode(), re.findall(r"CONSOLE[:(]\d+[\])]*\s*(.*)", errors)

    return browse


@pytest.fixture
def measure(browse):
    """`measure(page, width)` lays the page out at this width."""

    def measure(page: str, width: int) -> dict:
        frame = (
            f'<iframe width="{width}" height="900" style="border: 0" srcdoc="{html.escape(page)}"></iframe>'
        )
        dump, _ = browse(f"<!doctype html>{frame}{MEASURE}", "--dump-dom")
        return json.loads(html.unescape(re.findall(r"<output>(.*?)</output>", dump, re.DOTALL)[-1]))

    return measure


@pytest.fixture
def shoot(browse, tmp_path):
    """`shoot(page, *options)` returns the screenshot, float (height, width, 3), and the console's lines."""

    def shoot(page: str, *options: str) -> tuple[np.ndarray, list[str]]:
        target: Path = tmp_path / "shot.png"
        target.unlink(missing_ok=True)
        _, console = browse(page, f"--screenshot={target}", "--window-size=1100,1600", *options)
        return matplotlib.image.imread(target)[..., :3].astype(float), console

    return shoot


def test_the_page_loads_and_logs_nothing(browse, make_page):
    page = make_page()
    dump, console = browse(render(page), "--dump-dom")
    assert page.title in dump
    assert console == []


def test_an_error_would_be_seen(browse, make_page):
    # a script, which only a page without the policy would run
    page = re.sub(r"<meta http-equiv.*?>", "", render(make_page()))
    _, console = browse(page.replace("</body>", "<script>null.x</script></body>"), "--dump-dom")
    assert len(console) == 1
    assert "TypeError" in console[0]


def test_the_policy_stops_scripts_and_requests(browse, make_page):
    asked = []

    class Count(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Count) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            injected = (
                f'<img src="{address}/image"><link rel="stylesheet" href="{address}/style">'
                f'<script src="{address}/script"></script><script>document.title = "ran"</script></body>'
            )
            page = render(make_page()).replace("</body>", injected)
            dump, console = browse(page, "--dump-dom")
            assert asked == []
            assert "<title>ran" not in dump
            assert len(console) == 4
            browse(re.sub(r"<meta http-equiv.*?>", "", page), "--dump-dom")
            assert sorted(asked) == ["/image", "/script", "/style"], "the server would not have noticed"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("width", "least"), [(1100, 900), (768, 600), (400, 340)])
def test_the_plots_have_size_and_nothing_sticks_out(measure, make_page, width, least):
    page = make_page(target="a_very_long_column_name_" * 8, title="a_very_long_title_" * 8)
    found = measure(render(page), width)
    assert found["width"] == width
    assert found["scrollWidth"] == width
    assert found["beyond"] == []
    assert len(found["plots"]) == 3, "of the two sizes of each plot, one is shown"
    for plot_width, plot_height in found["plots"]:
        assert least <= plot_width <= width
        assert plot_height > 200
    assert min(found["text"]) >= 9, "letters too small to read"


@pytest.mark.parametrize(("width", "halves"), [(1100, 400), (400, 340)])
def test_the_full_page_fits_too(measure, make_full, width, halves):
    found = measure(render(make_full()), width)
    assert found["scrollWidth"] == width
    assert found["beyond"] == []
    assert len(found["plots"]) == 8
    # autocorrelation and calibration share a wide screen
    assert sum(halves <= plot_width < 500 for plot_width, _ in found["plots"]) == (2 if width > 1000 else 8)
    assert min(found["text"]) >= 9, "letters too small to read"


@pytest.mark.parametrize(("options", "bright"), [((), True), ((DARK,), False)])
def test_the_screenshot_shows_a_page_in_either_scheme(shoot, make_page, options, bright):
    picture, console = shoot(render(make_page()), *options)
    assert console == []
    assert picture.shape == (1600, 1100, 3)
    assert (picture.mean() > 0.85) if bright else (picture.mean() < 0.25)
    colours = np.unique((picture.reshape(-1, 3) * 255).astype(np.uint8), axis=0)
    assert len(colours) > 100, "a blank page"
    # the forecast's blue is on it, in the scheme's own shade
    blue = np.array([0x0A, 0x5E, 0xA8] if bright else [0x63, 0xB3, 0xF4]) / 255
    assert (np.abs(picture - blue).max(axis=-1) < 0.02).sum() > 200


def test_prints_light_on_a4_even_from_a_dark_screen(browse, make_page, tmp_path):
    printed = tmp_path / "page.pdf"
    browse(render(make_page()), DARK, "--no-pdf-header-footer", f"--print-to-pdf={printed}")
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    sizes = {
        tuple(round(float(x)) for x in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", content)
    }
    assert sizes == {(0, 0, 595, 842)}
    assert 2 <= len(re.findall(rb"/Type /Page\b", content)) <= 4


def class_page(**changes):
    from unrolled.estimators.class_scores import score_classes
    from unrolled.report.class_page import ClassPage, Example

    random, count = np.random.default_rng(0), changes.pop("count", 12)
    actual = random.integers(count, size=300)
    probabilities = random.dirichlet(np.ones(count), size=300) + 0.4 * np.eye(count)[actual]
    scores = score_classes(actual, probabilities / probabilities.sum(1, keepdims=True))
    names = [f"a_very_long_name_of_a_class_{number}" for number in range(count)]
    examples = [
        Example("a_very_long_name_of_a_sequence_" * 4, names[0], names[1], 0.9, 0.1, given)
        for given in (
            "longword" * 60, "שלום 😀 " * 20, random.normal(size=(30, 2)), random.normal(size=(8, 8)),
            random.normal(size=(9, 20, 30)),
        )
    ]  # fmt: skip
    rows = [
        {"member": 0, "epoch": epoch, "loss": 1 / epoch, "valid_loss": None, "best": True}
        for epoch in (1, 2, 3)
    ]
    metrics = {
        "model": scores, "baselines": {"majority": scores, "logistic": scores}, "whole": 0.5,
        "held_out": {"sequences": 30, "steps": 300}, "seconds": {"train": 2.0},
    }  # fmt: skip
    given = {"title": "a_very_long_title_" * 8, "verdict": "The model tells 90.0 % rightly.", "notes": ["note " * 60],
             "settings": {"Network": "network_" * 20}, "command": "unrolled classify " * 20}  # fmt: skip
    return ClassPage(classes=names, metrics=metrics, examples=examples, training=rows, **given)


def numbers_page():
    from unrolled.report.number_page import NumberPage

    classes, y = class_page(), np.random.default_rng(0).normal(size=300)
    scores = {"mae": 123_456.7, "rmse": 234_567.8, "r2": -0.123}
    metrics = {
        "model": scores,
        "baselines": {"mean": scores, "ridge": scores},
        "held_out": {"sequences": 300},
        "seconds": {},
    }
    return NumberPage(
        title=classes.title, metrics=metrics, verdict="The model is off by 1 on average.", actual=y, told=y / 2,
        examples=classes.examples, training=classes.training, settings=classes.settings, notes=classes.notes,
    )  # fmt: skip


@pytest.mark.parametrize("width", [1100, 380])
@pytest.mark.parametrize("kind", ["classes", "many classes", "numbers"])
def test_the_pages_of_sequences_fit_too(measure, browse, kind, width):
    from unrolled.report.class_page import render_classes
    from unrolled.report.number_page import render_numbers

    page = (
        render_numbers(numbers_page())
        if kind == "numbers"
        else render_classes(class_page(count=30 if "many" in kind else 12))
    )
    found = measure(page, width)
    assert found["scrollWidth"] == width
    assert found["beyond"] == []
    assert len(found["plots"]) == 2
    assert all(plot_width <= width and plot_height > 150 for plot_width, plot_height in found["plots"])
    assert min(found["text"]) >= 9, "letters too small to read"
    if width > 1000:
        assert browse(page, "--dump-dom")[1] == []
