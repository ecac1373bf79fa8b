"""One thread of the process stores what all sockets report.

Whatever has queued up during the last commit goes into the next, so an entry costs less
the busier the process is. No other work has to wait for this thread.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from .database import give_back, next_of
from .transcripts import Answer, Report, commit

log = logging.getLogger("django_perso")

# Reports; a frame has at most 64 KiB.
MAX_QUEUED = 5_000
MAX_BATCH = 500
# Before a row that somebody else has locked is tried again.
BUSY_SECONDS = 0.02
RETRY: Answer = {"t": "retry", "after": 1000}


@dataclass(frozen=True)
class _Job:
    report: Report
    answer: Callable[[Answer], None]
    loop: asyncio.AbstractEventLoop


class Writer:
    """A queue and its thread. `store` writes reports down, as `commit` does."""

    def __init__(self, store: Callable[..., list[Answer | None]] = commit) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        # Jobs whose rows were locked.
        self._postponed: list[_Job] = []
        threading.Thread(target=self._run, name="perso-writer", daemon=True).start()

    def put(self, report: Report, answer: Callable[[Answer], None]) -> None:
        """Store a report; `answer` is called with the answer in the running loop."""
        if self._queue.qsize() < MAX_QUEUED:
            self._queue.put(_Job(report, answer, asyncio.get_running_loop()))
        else:
            answer(RETRY)

    def _run(self) -> None:
        while True:
            jobs = self._collect()
            answers = self._answers(jobs)
            give_back()
            answered = []
            self._postponed = []
            for job, answer in zip(jobs, answers, strict=True):
                if answer is None:
                    self._postponed.append(job)
                else:
                    answered.append((job, answer))
            self._deliver(answered)

    def _collect(self) -> list[_Job]:
        """Return the jobs that are waiting, at least one."""
        jobs = self._postponed
        with suppress(queue.Empty):
            if jobs:
                jobs.append(self._queue.get(timeout=BUSY_SECONDS))
            else:
                jobs.append(next_of(self._queue))
            while len(jobs) < MAX_BATCH:
                jobs.append(self._queue.get_nowait())
        return jobs

    def _answers(self, jobs: Sequence[_Job]) -> list[Answer | None]:
        """Store the reports together; if the database refuses one, each by itself."""
        try:
            return self._store([job.report for job in jobs], wait=False)
        except (OperationalError, InterfaceError):
            connections.close_all()
            return [RETRY] * len(jobs)
        except DatabaseError:
            return [self._answer_alone(job.report) for job in jobs]
        except Exception:
            # Such as a mistake in the settings. Without this thread all would wait.
            log.exception("the log cannot be stored")
            return [RETRY] * len(jobs)

    def _answer_alone(self, report: Report) -> Answer | None:
        try:
            return self._store([report], wait=False)[0]
        except Exception as error:
            # The error's text may contain what was said.
            log.warning("a report cannot be stored: %s", type(error).__name__)
            # Perhaps the connection is the reason.
            connections.close_all()
            return RETRY

    def _deliver(self, answered: list[tuple[_Job, Answer]]) -> None:
        for loop in {job.loop for job, _ in answered}:
            calls = [
                (job.answer, answer) for job, answer in answered if job.loop is loop
            ]
            # A loop that has ended took its sockets with it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_call_all, calls)


def _call_all(calls: list[tuple[Callable[[Answer], None], Answer]]) -> None:
    for function, answer in calls:
        function(answer)


def writer() -> Writer:
    """Return this process's writer."""
    return _writer(os.getpid())


@cache
def _writer(pid: int) -> Writer:
    return Writer()
