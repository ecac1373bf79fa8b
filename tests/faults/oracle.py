"""What clients sent and were promised, written down and compared with what is stored.

The oracle is a file of the lines `made stream seq fingerprint` and
`acknowledged stream seq`.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

# Selects all entries of browsers, in the order in which they were stored.
STORED = """
SELECT conversation_id::text, seq, kind, at_ms, data
FROM django_perso_transcriptentry WHERE source = 'browser' ORDER BY id"""

Entry = dict[str, Any]  # s, k, t, d, as in a frame


def fingerprint(kind: str, at_ms: int, data: Any) -> str:
    """Return a hash of an entry that does not depend on how its JSON is written."""
    text = json.dumps([kind, at_ms, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Verdict:
    """Numbers of entries; `gappy` counts conversations.

    All but the first three ought to be 0.
    """

    made: int
    acknowledged: int
    stored: int
    lost: int  # acknowledged, but not stored
    missing: int  # made, but not stored
    double: int
    gappy: int
    disordered: int
    altered: int

    @property
    def is_clean(self) -> bool:
        """Whether every entry is stored once, in order and unaltered."""
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
            f"{self.stored:,} of {self.made:,} entries, lost {self.lost}, "
            f"missing {self.missing}, double {self.double}, gappy {self.gappy}, "
            f"disordered {self.disordered}, altered {self.altered}"
        )


class Oracle:
    """Notes of all clients of one test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", buffering=1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def note_made(self, stream: str, entry: Entry) -> None:
        """Note an entry that has got its number.

        An entry that becomes a gap is noted a second time.
        """
        digest = fingerprint(entry["k"], entry["t"], entry["d"])
        print("made", stream, entry["s"], digest, file=self._file)

    def note_acknowledged(self, stream: str, first: int, last: int) -> None:
        """Note that the server has acknowledged these entries."""
        for seq in range(first, last + 1):
            print("acknowledged", stream, seq, file=self._file)

    def compare(self, stored: Iterable[tuple[Any, ...]]) -> Verdict:
        """Compare the notes with rows of `STORED`.

        Conversations that are not in the notes are left out.
        """
        made, acknowledged = self._read()
        streams = {stream for stream, _ in made}
        rows = [row for row in stored if row[0] in streams]
        counts = Counter((row[0], row[1]) for row in rows)
        order: dict[str, list[int]] = defaultdict(list)
        for stream, seq, *_ in rows:
            order[stream].append(seq)
        return Verdict(
            made=len(made),
            acknowledged=len(acknowledged),
            stored=len(rows),
            lost=len(acknowledged - counts.keys()),
            missing=len(made.keys() - counts.keys()),
            double=sum(count - 1 for count in counts.values()),
            gappy=sum(
                set(seqs) != set(range(1, max(seqs) + 1)) for seqs in order.values()
            ),
            disordered=sum(
                following < seq
                for seqs in order.values()
                for seq, following in pairwise(seqs)
            ),
            altered=sum(
                fingerprint(*content) not in made[stream, seq]
                for stream, seq, *content in rows
            ),
        )

    def _read(self) -> tuple[dict[tuple[str, int], set[str]], set[tuple[str, int]]]:
        """Return the fingerprints of the entries made, and those acknowledged."""
        made: dict[tuple[str, int], set[str]] = defaultdict(set)
        acknowledged: set[tuple[str, int]] = set()
        for line in self.path.read_text().splitlines():
            event, stream, seq, *digest = line.split()
            if event == "made":
                made[stream, int(seq)].update(digest)
            else:
                acknowledged.add((stream, int(seq)))
        return made, acknowledged
