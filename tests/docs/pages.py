"""The documentation as its tests read it: sections, tables and code blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dev

DOCS = dev.ROOT / "docs"
FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,})(?P<language>[^`]*)")
HEADING = re.compile(r"(#+) (.+)")
NOTE = re.compile(r"<!-- (not run|run): (.+?) -->")
CODE = re.compile(r"`([^`]+)`")
FILE_NAME = re.compile(r"`(?:[\w/]+/)?(\w+\.py)`")


@dataclass(frozen=True)
class Block:
    """A fenced code block. `file` is the Python file that the text before it names."""

    path: Path
    line: int
    language: str
    code: str
    file: str
    note: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(dev.ROOT)}:{self.line}"


def all_pages() -> list[Path]:
    """Return every page of the documentation, and the Markdown files at the root."""
    return [*sorted(DOCS.rglob("*.md")), *sorted(dev.ROOT.glob("*.md"))]


def read(name: str) -> str:
    """Return the text of a page, such as `reference/settings`."""
    return (DOCS / f"{name}.md").read_text("utf-8")


def without_code(text: str) -> str:
    """Return a page's text with its code blocks taken out."""
    kept = []
    fence = ""
    for line in text.splitlines():
        match = FENCE.fullmatch(line.rstrip())
        if match and not fence:
            fence = match["fence"]
        elif fence and line.strip() == fence:
            fence = ""
        elif not fence:
            kept.append(line)
    return "\n".join(kept)


def section(text: str, title: str) -> str:
    """Return what stands under a heading, with the headings below it."""
    lines = without_code(text).splitlines()
    start = None
    level = 0
    for number, line in enumerate(lines):
        match = HEADING.fullmatch(line)
        if match is None:
            continue
        if start is None:
            if match[2].replace("`", "") == title:
                start = number + 1
                level = len(match[1])
        elif len(match[1]) <= level:
            return "\n".join(lines[start:number])
    assert start is not None, f"There is no heading {title!r}"
    return "\n".join(lines[start:])


def headings(text: str, level: int) -> list[str]:
    """Return the headings of one level that are code, without the backticks."""
    result = []
    for line in without_code(text).splitlines():
        match = HEADING.fullmatch(line)
        if match and len(match[1]) == level and match[2].startswith("`"):
            result.append(match[2].replace("`", ""))
    return result


def rows(text: str) -> list[list[str]]:
    """Return the cells of each table row, without the rows of titles and dashes."""
    result = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            continue
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if re.match(r"\|[\s:-]+\|", line) or re.match(r"\|[\s:-]+\|", following):
            continue
        cells = re.split(r"(?<!\\)\|", line.strip())
        result.append([cell.strip().replace("\\|", "|") for cell in cells[1:-1]])
    return result


def first_column(text: str) -> list[str]:
    """Return each name written as code in the first column of the tables."""
    return [name for cells in rows(text) for name in CODE.findall(cells[0])]


def blocks(path: Path) -> Iterator[Block]:
    """Return the code blocks of a page; MyST's directives are not code."""
    lines = path.read_text("utf-8").splitlines()
    file = ""
    number = 0
    while number < len(lines):
        match = FENCE.fullmatch(lines[number].rstrip())
        if match is None:
            file = _named_file(lines[number], file)
            number += 1
            continue
        start = number
        end = _end(lines, start, match)
        code = [line[len(match["indent"]) :] for line in lines[start + 1 : end]]
        note = NOTE.fullmatch(lines[start - 1].strip())
        if not match["language"].startswith("{"):
            yield Block(
                path=path,
                line=start + 1,
                language=match["language"].strip(),
                code="\n".join(code) + "\n",
                file=file,
                note=note[1] if note else "",
                reason=note[2] if note else "",
            )
        number = end + 1


def _named_file(line: str, file: str) -> str:
    if HEADING.fullmatch(line):
        return ""
    named = FILE_NAME.findall(line)
    return named[-1] if named else file


def _end(lines: list[str], start: int, fence: re.Match[str]) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == fence["fence"]:
            return number
    raise AssertionError(f"The code block of line {start + 1} has no end")


def marked_block(page: str, test: str) -> str:
    """Return the code of the block that says this test runs it."""
    result = [
        block.code
        for block in blocks(DOCS / f"{page}.md")
        if (block.note, block.reason) == ("run", test)
    ]
    assert len(result) == 1, f"{len(result)} blocks of {page} name {test}"
    return result[0]
