"""The example site on a machine whose clock is wrong by FAULTS_CLOCK_SECONDS."""

import os
import time
from datetime import datetime, timedelta

from django.utils import timezone

SECONDS = float(os.environ["FAULTS_CLOCK_SECONDS"])
right_time = time.time
right_now = timezone.now


def now() -> datetime:
    """Return the time by this machine's wrong clock."""
    return right_now() + timedelta(seconds=SECONDS)


# The site is imported later, so it sees the wrong clock only.
timezone.now = now
time.time = lambda: right_time() + SECONDS

from example_project.asgi import application  # noqa: E402

__all__ = ["application"]
