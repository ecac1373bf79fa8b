"""Run all benchmarks or those named, print the figures, and fail if one is missed."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from tests.support.postgres import fresh_database, postgres_server
from tests.support.servers import environment, unused_port

from .figures import Figure
from .processes import serving

Measure = Callable[[], Iterator[Figure]]


def measures() -> dict[str, Measure]:
    """Return all benchmarks by name, imported after Django's setup."""
    from . import log, pages, starts, workers

    everything = [
        log.rows, log.held, log.memory, workers.workers, starts.starts, starts.threads,
        pages.catalogue, pages.tag, pages.scripts, pages.transcript, pages.first_frame,
    ]  # fmt: skip
    return {measure.__name__: measure for measure in everything}


def measured(wanted: list[str], url: str) -> Iterator[Figure]:
    """Run benchmarks and yield their figures."""
    port = unused_port()
    values = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "DATABASE_URL": url,
        "DEBUG": "off",
        "PERSO_INTERACTIVE_API_KEY": "pak-of-the-bench",
        "PERSO_INTERACTIVE_API_SERVER": f"http://127.0.0.1:{port}",
        "NO_PROXY": "127.0.0.1",
    }
    os.environ.update(environment(**values))
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    known = measures()
    if unknown := set(wanted) - set(known):
        sys.exit(f"There is no {', '.join(unknown)}; there are {', '.join(known)}.")
    with serving("upstream", port=port):
        # Always in this order, since a benchmark may leave connections to the next.
        for name, measure in known.items():
            if name in wanted or not wanted:
                yield from measure()


def main() -> int:
    """Print the figures and write them to a file."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="run only this benchmark; repeatable",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the raw figures to this file"
    )
    chosen = parser.parse_args()
    file = chosen.json or Path(tempfile.mkdtemp(prefix="perso-bench-")) / "figures.json"
    began = time.monotonic()
    figures = []
    with postgres_server() as server, fresh_database(server, "bench") as url:
        for figure in measured(chosen.only, url):
            print(figure, flush=True)
            figures.append(figure)
    file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    missed = [figure.what for figure in figures if figure.is_missed]
    print(
        f"{time.monotonic() - began:.0f} s, {len(missed)} missed; raw figures in {file}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
