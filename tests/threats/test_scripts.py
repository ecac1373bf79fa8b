"""T12: texts of visitors, models, Perso and staff are shown as text in the admin."""

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
# Texts before a tag that leave the attribute, the element or the script around it.
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
CORPUS = [
    *(before + tag for before, tag in itertools.product(EXITS, TAGS)),
    *OTHERS,
]


def test_corpus_runs_as_raw_html(page: Any, console_errors: list[str]) -> None:
    """The positive control: the same texts as raw HTML."""
    ran = 0
    for text in CORPUS:
        page.set_content(f"<!doctype html><body>{text}</body>")
        page.wait_for_timeout(20)
        ran += bool(page.evaluate("window.ran"))
    console_errors.clear()
    assert ran > 40


def test_stored_texts_do_not_run_in_the_admin(
    example_server: Any,
    page: Any,
    console_errors: list[str],
    tmp_path: Path,
    figure: Callable[[str, str], None],
) -> None:
    site = example_server()
    (tmp_path / "corpus.json").write_text(json.dumps(CORPUS))
    file = str(tmp_path / "corpus.json")
    write = f"from tests.threats.hostile_rows import write; write({file!r})"
    printed = site.manage("shell", "-c", write)
    key, conversation, preset = json.loads(printed.splitlines()[-1])
    dialogs: list[str] = []

    def note(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    log_in(page, site)
    model = f"{site.url}/admin/django_perso/"
    paths = [f"conversation/{conversation}/change/?page={n}" for n in (1, 2)]
    paths += [
        "conversation/",
        f"conversation/{conversation}/history/",
        f"conversation/{conversation}/delete/",
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
    # Histories and confirmations of a deletion show few texts.
    assert shown >= len(paths) - 4
    console_errors.clear()  # Chromium reports the broken pictures
    figure(
        "T12",
        f"{len(CORPUS)} texts in every field, {len(paths) + 1} pages in Chromium: "
        "0 scripts ran",
    )


def test_no_text_is_marked_safe_by_hand() -> None:
    package = Path(django_perso.__file__).parent
    forbidden = {
        "**/*.py": ("mark_safe",),
        "**/*.html": ("|safe", "autoescape"),
        "static/**/*.js": ("innerHTML",),
    }
    marked = [
        path
        for pattern, words in forbidden.items()
        for path in package.rglob(pattern)
        if any(word in path.read_text() for word in words)
    ]
    assert marked == []
