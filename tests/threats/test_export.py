"""T13: texts of visitors are never formulas in a spreadsheet."""

import csv
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_perso.models import Conversation, TranscriptEntry
from django_perso.services.export import export, safe_cell
from tests.stage import make_conversation

pytestmark = pytest.mark.django_db

BEFORE = [
    "",
    " ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\x00",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff",
    " \t\u2060 ",
    "\x1f",
]
# Other characters that mean =, +, - and @.
WIDE = [
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
    "\ufe66",
    "\ufe62",
    "\ufe63",
    "\ufe6b",
]
SIGNS = [*"=+-@", *WIDE, "\u207a", "\u208c"]
AFTER = ["1+1", "cmd|'/c calc'!A1", 'HYPERLINK("http://x.example","y")', "SUM(1,2)", ""]
CORPUS = [
    before + sign + after for before in BEFORE for sign in SIGNS for after in AFTER
]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(BEFORE),
        st.sampled_from(SIGNS),
        st.text(max_size=9),
    ),
)


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet could take a cell for a formula.

    The first character decides, or the first visible one.
    """
    for character in cell:
        if unicodedata.category(character)[0] not in "CZ":
            return unicodedata.normalize("NFKC", character).startswith(
                ("=", "+", "-", "@")
            )
        if character == cell[0] and character in "\t\r\n":
            return True
    return False


def conversation(*texts: str, visitor: str = "v") -> Conversation:
    """Save a conversation in which the texts are both roles and messages."""
    session = make_conversation(visitor=visitor)
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation=session,
            source="browser",
            seq=seq,
            kind="chat",
            at_ms=0,
            data={"role": text, "text": text},
        )
        for seq, text in enumerate(texts, 1)
    )
    return session


def cells(session: Conversation) -> list[dict[str, str]]:
    """Return the rows of the export of a conversation, as a spreadsheet reads them."""
    content = "".join(export(Conversation.objects.filter(pk=session.pk), "csv"))
    head, *rows = csv.reader(as_records(content), strict=True)
    return [dict(zip(head, row, strict=True)) for row in rows]


def as_records(content: str) -> Iterator[str]:
    """Yield one string for each record.

    `csv` accepts a single CR within quotes only if the record is one string.
    """
    start = 0
    quotes = 0
    for at, character in enumerate(content):
        quotes += character == '"'
        if character == "\n" and quotes % 2 == 0:
            yield content[start : at + 1]
            start = at + 1


def test_no_cell_of_the_corpus_is_a_formula(figure: Callable[[str, str], None]) -> None:
    assert sum(map(is_formula, CORPUS)) == len(CORPUS)  # the positive control
    rows = cells(conversation(*CORPUS, visitor=CORPUS[0]))
    assert len(rows) == len(CORPUS)
    dangerous = [cell for row in rows for cell in row.values() if is_formula(cell)]
    assert dangerous == []
    assert [row["text"].removeprefix("'") for row in rows] == CORPUS
    figure(
        "T13",
        f"{len(CORPUS)} formulas entered, "
        f"{len(rows) * len(rows[0])} exported cells read: 0 formulas",
    )


@given(TEXTS)
@hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_text_is_exported_unchanged_and_as_text(text: str) -> None:
    (row,) = cells(conversation(text))
    for cell in row.values():
        assert not is_formula(cell)
    assert row["text"] == safe_cell(text)
    assert row["text"] in (text, f"'{text}")


@given(TEXTS)
def test_only_possible_formulas_are_marked(text: str) -> None:
    assert safe_cell(text) == (f"'{text}" if is_formula(text) else text)


@pytest.mark.parametrize(
    "value", [None, 0, 12, "", "plain", "a=b", "1-2", "'=1", '"=1"', "e-mail", "日本"]
)
def test_harmless_value_is_exported_unchanged(value: Any) -> None:
    assert safe_cell(value) == ("" if value is None else str(value))
