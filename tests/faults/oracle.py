"""What clients swore to: every line they made, and every line they were told is stored. Then the comparison.

The oracle is a file, so that it outlives whoever is killed: `made stream seq hash`, `told stream seq`.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

# Everything browsers reported, in the order it was stored.
STORED = """SELECT conversation_id::text, seq, kind, at_ms, data FROM django_perso_transcriptentry
    WHERE source = 'browser' ORDER BY id"""

Entry = dict[str, Any]  # s, k, t, d, as it travels


def fingerprint(kind: str, at_ms: int, data: Any) -> str:
    """The same for what was sent and what is stored, however JSON was written."""
    text = json.dumps([kind, at_ms, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Verdict:
    """Numbers of lines; `gappy` of streams. All but the first three ought to be 0."""

    made: int
    told: int
    stored: int
    lost: int
    missing: int
    double: int
    gappy: int
    disordered: int
    altered: int

    @property
    def is_clean(self) -> bool:
        """Whether every line is there once, in order and as it was made."""
        wrong = (
            self.lost
            + self.missing
            + self.double
            + self.gappy
            + self.disordered
            + self.altered
        )
        return not wrong and self.stored == self.made

    def __str__(self) -> str:
        return (
            f"{self.stored:,} of {self.made:,} lines, lost {self.lost}, missing {self.missing}, "
            f"double {self.double}, gappy {self.gappy}, disordered {self.disordered}, altered {self.altered}"
        )


class Oracle:
    """Written by all clients of one row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", buffering=1)

    def close(self) -> None:
        """All clients are through."""
        self._file.close()

    def made(self, stream: str, entry: Entry) -> None:
        """A line has got its number. Replaced by a gap, it is made a second time."""
        print(
            "made",
            stream,
            entry["s"],
            fingerprint(entry["k"], entry["t"], entry["d"]),
            file=self._file,
        )

    def told(self, stream: str, first: int, last: int) -> None:
        """The server says that these are stored."""
        for seq in range(first, last + 1):
            print("told", stream, seq, file=self._file)

    def compare(self, stored: Iterable[tuple[Any, ...]]) -> Verdict:
        """Against the rows of `STORED`; streams that nobody here wrote are left out."""
        made: dict[tuple[str, int], set[str]] = defaultdict(set)
        told: set[tuple[str, int]] = set()
        for what, stream, seq, *digest in map(
            str.split, self.path.read_text().splitlines()
        ):
            if what == "made":
                made[stream, int(seq)].update(digest)
            else:
                told.add((stream, int(seq)))
        streams = {stream for stream, _ in made}
        rows = [row for row in stored if row[0] in streams]
        found = Counter((row[0], row[1]) for row in rows)
        order: dict[str, list[int]] = defaultdict(list)
        for stream, seq, *_ in rows:
            order[stream].append(seq)
        return Verdict(
            made=len(made),
            told=len(told),
            stored=len(rows),
            lost=len(told - found.keys()),
            missing=len(made.keys() - found.keys()),
            double=sum(count - 1 for count in found.values()),
            gappy=sum(
                set(seqs) != set(range(1, max(seqs) + 1)) for seqs in order.values()
            ),
            disordered=sum(b < a for seqs in order.values() for a, b in pairwise(seqs)),
            altered=sum(
                fingerprint(*content) not in made[stream, seq]
                for stream, seq, *content in rows
            ),
        )
