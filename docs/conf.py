"""Sphinx configuration: `sphinx-build -W -b html docs <directory>`."""

import tomllib
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

project = "django-perso"
author = "django-perso contributors"
version = METADATA["version"]
release = version
language = "en"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

# Headings down to the fourth level can be linked to, with the same anchors as on
# GitHub.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"django-perso {version}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Show languages that Pygments does not know without colors."""
    for language in ("cron", "mermaid"):
        app.add_lexer(language, TextLexer)
