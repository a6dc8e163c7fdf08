"""The colours of the report, light and dark, under the names that plots and page share.

The plots are drawn in the light colours; the page replaces each of them by the CSS variable of its name, so
that one drawing serves both. Lines differ in dash as well as in colour: nothing is told by colour alone.
The hues of the model and of the first four baselines (blue, orange, green, purple, olive) stay apart in the
common forms of colour blindness; no eight do, so that the others lean on their dashes.
"""

__all__ = ["BASELINES", "CURVES", "DARK", "LIGHT", "PAPER"]

PAPER = {"light": "#ffffff", "dark": "#14181d"}

LIGHT = {
    "ink": "#1b1f24",
    "muted": "#59636e",
    "grid": "#e2e6ea",
    "observed": "#414b55",
    "filled": "#a04a00",
    "model": "#0a5ea8",
    "first": "#b8501c",
    "second": "#00785b",
    "third": "#8b489f",
    "fourth": "#6d6700",
    "fifth": "#a82c62",
    "sixth": "#0b7080",
    "seventh": "#6f4e37",
    "eighth": "#50597a",
}

DARK = {
    "ink": "#e6eaee",
    "muted": "#9da7b2",
    "grid": "#2c343c",
    "observed": "#bcc6d0",
    "filled": "#f2a65e",
    "model": "#63b3f4",
    "first": "#f2935b",
    "second": "#40c49c",
    "third": "#d29ee3",
    "fourth": "#cbc24f",
    "fifth": "#f58bb6",
    "sixth": "#5fd0e0",
    "seventh": "#cfa789",
    "eighth": "#a9b3d6",
}

# The baselines in turn: the colour's name, and the dash in points (drawn, empty, …).
BASELINES = (
    ("first", (5.0, 2.0)),
    ("second", (1.2, 1.6)),
    ("third", (6.0, 2.0, 1.2, 2.0)),
    ("fourth", (3.0, 1.2)),
    ("fifth", (8.0, 2.0)),
    ("sixth", (4.0, 1.5, 1.2, 1.5, 1.2, 1.5)),
    ("seventh", (2.0, 2.4)),
    ("eighth", (9.0, 2.0, 3.0, 2.0)),
)

# of up to three curves in a small picture, with their dashes
CURVES = {"model": "none", "first": "4.5 2.25", "second": "1.5 2"}
