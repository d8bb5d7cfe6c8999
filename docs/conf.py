"""Sphinx: the pages of docs/ and the lessons of tutorials/, built with warnings as errors (``make docs``)."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Glassgate"
author = "the Glassgate authors"
copyright = "2026, the Glassgate authors"
version = release = version_of("glassgate")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "source_pages",  # each source file of the gateways as a page with anchored lines; the role `source`
    "machines",  # state machines drawn from their tables
    "contract_pages",  # the rules, the vectors and the configuration, as the code has them
]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
nitpicky = False

html_theme = "furo"
html_title = "Glassgate"
html_static_path = ["_static"]
html_css_files = ["glassgate.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b6e6e", "color-brand-content": "#0b6e6e"},
    "dark_css_variables": {"color-brand-primary": "#5ec8c8", "color-brand-content": "#5ec8c8"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
