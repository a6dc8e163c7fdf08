"""Sphinx, offline."""

import unrolled

project = "unrolled"
author = "the unrolled developers"
copyright = "the unrolled developers"
version = release = unrolled.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"unrolled {release}"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["ref.python"]
