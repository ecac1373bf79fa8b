"""T12: what visitors, models, Perso and colleagues wrote is shown in the admin as text, never run."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import django_perso
from tests.support.admin import log_in

pytestmark = [pytest.mark.browser, pytest.mark.threat]

RUN = "window.ran=(window.ran||0)+1"
TAGS = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    f"<details open ontoggle={RUN}>",
    f"<input autofocus onfocus={RUN}>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"<math><mtext><img src=x onerror={RUN}></mtext></math>",
    f"<style>@import 'javascript:{RUN}'</style>",
    f"<object data='javascript:{RUN}'></object>",
    f"<video><source onerror={RUN}></video>",
)
# What may stand before a tag, to leave the attribute, the element or the script it was put into.
EXITS = ("", '">', "'>", "</script>", "</textarea>", "</title>", "-->", "]]>", "\u202e")
OTHERS = (
    f'" autofocus onfocus="{RUN}',
    f"' onmouseover='{RUN}",
    f"javascript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    "{{ 7|add:7 }}{% debug %}",
    "\x1b[31mred\x1b[0m\u2028\u2029\ufeff",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
)
CORPUS = [exit + tag for exit, tag in itertools.product(EXITS, TAGS)] + list(OTHERS)


def test_the_corpus_runs_where_nobody_escapes(
    page: Any, console_errors: list[str]
) -> None:
    """The positive control: the same texts as raw HTML."""
    ran = 0
    for text in CORPUS:
        page.set_content(f"<!doctype html><body>{text}</body>")
        page.wait_for_timeout(20)
        ran += bool(page.evaluate("window.ran"))
    console_errors.clear()
    assert ran > 40


def test_nothing_that_was_stored_runs_in_the_admin(
    example_server: Any,
    page: Any,
    console_errors: list[str],
    tmp_path: Path,
    figure: Callable[[str, str], None],
) -> None:
    site = example_server()
    (tmp_path / "corpus.json").write_text(json.dumps(CORPUS))
    write = f"from tests.threats.hostile_rows import write; write({str(tmp_path / 'corpus.json')!r})"
    key, session, preset = json.loads(
        site.manage("shell", "-c", write).splitlines()[-1]
    )
    dialogs: list[str] = []

    def note(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    log_in(page, site)
    model = f"{site.url}/admin/django_perso/"
    paths = [f"conversation/{session}/change/?page={n}" for n in (1, 2)]
    paths += [
        "conversation/",
        f"conversation/{session}/history/",
        f"conversation/{session}/delete/",
    ]
    paths += [
        "apikey/",
        f"apikey/{key}/change/",
        f"apikey/{key}/history/",
        f"apikey/{key}/delete/",
    ]
    paths += [
        "sessionpreset/",
        f"sessionpreset/{preset}/change/",
        f"sessionpreset/{preset}/delete/",
    ]
    paths += [
        f"sessionpreset/add/?copy={preset}",
        f"sessionpreset/playground/?key={key}&preset=hostile-0",
    ]
    shown = 0
    for path in paths:
        answer = page.goto(model + path)
        assert (answer.status, page.url) == (200, model + path)
        page.wait_for_timeout(100)
        assert page.evaluate("window.ran") is None, path
        shown += RUN in page.content()
    page.goto(f"{site.url}/admin/")  # recent actions
    assert (page.evaluate("window.ran"), dialogs) == (None, [])
    assert (
        shown >= len(paths) - 4
    )  # histories and questions before deleting show little
    console_errors.clear()  # pictures that are none
    figure(
        "T12",
        f"{len(CORPUS)} texts in every field, {len(paths) + 1} pages in Chromium: 0 ran",
    )


def test_nobody_calls_a_text_safe_by_hand() -> None:
    package = Path(django_perso.__file__).parent
    told = [path for path in package.rglob("*.py") if "mark_safe" in path.read_text()]
    told += [
        p
        for p in package.rglob("*.html")
        if "|safe" in p.read_text() or "autoescape" in p.read_text()
    ]
    told += [p for p in package.rglob("static/**/*.js") if "innerHTML" in p.read_text()]
    assert told == []
