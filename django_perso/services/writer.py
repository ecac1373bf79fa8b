"""One thread a process that stores what all sockets report: whatever has queued up while the last commit ran
goes into the next, so the busier it is the less an entry costs. Nobody else's thread, so nobody else's wait.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from .database import give_back, next_of
from .transcripts import Answer, Report, commit

log = logging.getLogger("django_perso")

MAX_QUEUED = 5_000  # reports; a frame has at most 64 KiB
MAX_BATCH = 500
BUSY_SECONDS = 0.02  # before a row somebody else has locked is tried again
RETRY: Answer = {"t": "retry", "after": 1000}


@dataclass(frozen=True)
class _Job:
    report: Report
    answer: Callable[[Answer], None]
    loop: asyncio.AbstractEventLoop


class Writer:
    """A queue and its thread, which starts with the first report. `store` writes reports down."""

    def __init__(self, store: Callable[..., list[Answer | None]] = commit) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._later: list[_Job] = []
        threading.Thread(target=self._run, name="perso-writer", daemon=True).start()

    def put(self, report: Report, answer: Callable[[Answer], None]) -> None:
        """Have a report stored; `answer` is called with the answer, in the running event loop."""
        if self._queue.qsize() < MAX_QUEUED:
            self._queue.put(_Job(report, answer, asyncio.get_running_loop()))
        else:
            answer(RETRY)

    def _run(self) -> None:
        while True:
            jobs = self._collect()
            try:
                answers = self._store([job.report for job in jobs], wait=False)
            except (OperationalError, InterfaceError):
                self._deliver([(job, RETRY) for job in jobs])
                connections.close_all()
                continue
            except DatabaseError:
                answers = [self._alone(job.report) for job in jobs]
            except (
                Exception
            ):  # such as nonsense in settings; without this thread all would wait
                log.exception("the log cannot be stored")
                answers = [RETRY] * len(jobs)
            give_back()
            self._later = [
                job for job, answer in zip(jobs, answers, strict=True) if answer is None
            ]
            self._deliver(
                [
                    (job, it)
                    for job, it in zip(jobs, answers, strict=True)
                    if it is not None
                ]
            )

    def _collect(self) -> list[_Job]:
        """What is waiting, at least one job."""
        jobs, self._later = self._later, []
        with suppress(queue.Empty):
            jobs.append(
                self._queue.get(timeout=BUSY_SECONDS) if jobs else next_of(self._queue)
            )
            while len(jobs) < MAX_BATCH:
                jobs.append(self._queue.get_nowait())
        return jobs

    def _alone(self, report: Report) -> Answer | None:
        # One report the database does not take must not hold up the others.
        try:
            return self._store([report], wait=False)[0]
        except Exception as error:  # perhaps it is the connection
            log.warning(
                "a report cannot be stored: %s", type(error).__name__
            )  # its text may hold what was said
            connections.close_all()
            return RETRY

    def _deliver(self, answered: list[tuple[_Job, Answer]]) -> None:
        loops = {job.loop for job, _ in answered}
        for loop in loops:
            mine = [
                (job.answer, answer) for job, answer in answered if job.loop is loop
            ]
            with suppress(RuntimeError):  # the loop has ended, and its sockets with it
                loop.call_soon_threadsafe(_tell, mine)


def _tell(answered: list[tuple[Callable[[Answer], None], Answer]]) -> None:
    for answer, it in answered:
        answer(it)


def writer() -> Writer:
    """This process's writer."""
    return _writer(os.getpid())


@cache
def _writer(pid: int) -> Writer:
    return Writer()
