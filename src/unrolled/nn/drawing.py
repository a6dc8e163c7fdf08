"""Drawings of the cells, as SVG: gates, states, and the way that each value takes."""

from html import escape

from unrolled.nn.validation import check_choice

__all__ = ["draw_cell"]

_STYLE = (
    "text{font:14px sans-serif;text-anchor:middle;dominant-baseline:central;fill:#222}"
    ".name{font-size:12px;fill:#555}.wire{fill:none;stroke:#444;stroke-width:1.6}"
    ".cell{fill:#f4f1ea;stroke:#999}.gate{fill:#ffd98a;stroke:#8a6d1f}"
    ".op{fill:#cfe3f7;stroke:#3c6c99}.dot{fill:#444}"
)
_ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#444"/></marker>'
)


def draw_cell(kind: str) -> str:
    """A drawing of a cell, with its gates and states named.

    Args:
        kind: "simple_rnn", "lstm" or "gru" (with the reset gate before the product, as in the textbook).

    Returns:
        An SVG document.

    Raises:
        OptionError: another kind.

    >>> draw_cell("lstm")[:4]
    '<svg'
    """
    check_choice("draw_cell", "kind", kind, ["simple_rnn", "lstm", "gru"])
    parts, width, height = {"simple_rnn": _simple_rnn, "lstm": _lstm, "gru": _gru}[kind]()
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    frame = f'<rect class="cell" x="90" y="50" width="{width - 180}" height="{height - 110}" rx="14"/>'
    return "\n".join([head, f"<style>{_STYLE}</style><defs>{_ARROW}</defs>", frame, *parts, "</svg>"])


def _simple_rnn() -> tuple[list[str], int, int]:
    parts = [
        _wire("M40 190H300V162"),
        _wire("M200 270V190", arrow=False),
        _dot(200, 190),
        _wire("M300 138V100H460"),
        _dot(380, 100),
        _wire("M380 100V30"),
        _gate(300, 150, "φ", "Wx + Uh + b"),
        *_texts({(40, 172): "h(t-1)", (200, 285): "x(t)", (485, 100): "h(t)", (380, 18): "y(t) = h(t)"}),
    ]
    return parts, 520, 310


def _lstm() -> tuple[list[str], int, int]:
    gates = [(180, "σ", "forget gate f"), (290, "σ", "input gate i"), (400, "tanh", "candidate g")]
    parts = [
        # The long-term state along the top: times f, plus i·g.
        _wire("M40 100H168"),
        _wire("M192 100H333"),
        _wire("M357 100H700"),
        _wire("M180 248V112"),
        # i and g meet, and go up into the sum.
        _wire("M290 248V180H333"),
        _wire("M400 248V180H357"),
        _wire("M345 168V112"),
        # h(t-1) and x(t) reach the four gates.
        _wire("M40 310H510V272", arrow=True),
        _wire("M140 380V310", arrow=False),
        _dot(140, 310),
        *[_wire(f"M{x} 310V272") for x, _, _ in gates],
        *[_dot(x, 310) for x, _, _ in gates],
        # The output gate lets tanh(c) out as h.
        _dot(580, 100),
        _wire("M580 100V148"),
        _wire("M580 172V208"),
        _wire("M510 248V220H568"),
        _wire("M592 220H640V310H700"),
        _dot(640, 220),
        _wire("M640 220V30"),
        *[_gate(x, 260, label, name) for x, label, name in gates],
        _gate(510, 260, "σ", "output gate o"),
        _gate(580, 160, "tanh", ""),
        _op(180, 100, "×"),
        _op(345, 100, "+"),
        _op(345, 180, "×"),
        _op(580, 220, "×"),
        *_texts(
            {
                (40, 82): "c(t-1)",
                (40, 292): "h(t-1)",
                (140, 395): "x(t)",
                (726, 100): "c(t)",
                (726, 310): "h(t)",
                (640, 18): "y(t) = h(t)",
            }
        ),
        _name(440, 86, "long-term state c"),
        _name(600, 326, "short-term state h"),
    ]
    return parts, 760, 420


def _gru() -> tuple[list[str], int, int]:
    parts = [
        # The state along the top: times z, plus (1 - z)·n.
        _wire("M40 100H438"),
        _wire("M462 100H568"),
        _wire("M592 100H720"),
        # h(t-1) comes down to the gates, and to the product with r.
        _dot(130, 100),
        _wire("M130 100V310H370V272"),
        _dot(160, 100),
        _wire("M160 100V200H208"),
        _wire("M220 310V272"),
        _dot(220, 310),
        _wire("M220 248V212"),
        _wire("M232 200H310V330H490V272"),
        # x(t) joins all three.
        _wire("M180 380V310", arrow=False),
        _dot(180, 310),
        _dot(180, 346),
        _wire("M180 346H510V272"),
        # z keeps the old state, 1 - z takes the candidate.
        _wire("M370 248V180H450V112"),
        _wire("M450 180H568"),
        _dot(450, 180),
        _name(510, 168, "1 - z"),
        _wire("M500 248V225H580V192"),
        _wire("M580 168V112"),
        _dot(650, 100),
        _wire("M650 100V30"),
        _gate(220, 260, "σ", "reset gate r"),
        _gate(370, 260, "σ", "update gate z"),
        _gate(500, 260, "tanh", ""),
        _name(520, 284, "candidate n", "start"),
        _op(220, 200, "×"),
        _op(450, 100, "×"),
        _op(580, 100, "+"),
        _op(580, 180, "×"),
        *_texts({(40, 82): "h(t-1)", (180, 395): "x(t)", (746, 100): "h(t)", (650, 18): "y(t) = h(t)"}),
        _name(290, 86, "state h"),
    ]
    return parts, 780, 420


def _wire(path: str, arrow: bool = True) -> str:
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path class="wire" d="{path}"{end}/>'


def _dot(x: int, y: int) -> str:
    return f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>'


def _gate(x: int, y: int, label: str, name: str) -> str:
    box = f'<rect class="gate" x="{x - 30}" y="{y - 12}" width="60" height="24" rx="4"/>'
    return box + _text(x, y, label) + (_name(x, y + 24, name, "start", 6) if name else "")


def _op(x: int, y: int, label: str) -> str:
    return f'<circle class="op" cx="{x}" cy="{y}" r="12"/>' + _text(x, y, label)


def _texts(places: dict[tuple[int, int], str]) -> list[str]:
    return [_text(x, y, text) for (x, y), text in places.items()]


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'


def _name(x: int, y: int, text: str, anchor: str = "middle", shift: int = 0) -> str:
    return f'<text class="name" x="{x + shift}" y="{y}" style="text-anchor:{anchor}">{escape(text)}</text>'
