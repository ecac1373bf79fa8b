"""The example site on a machine whose clock is wrong by FAULTS_CLOCK_SECONDS."""

import os
import time
from datetime import datetime, timedelta

from django.utils import timezone

SECONDS = float(os.environ["FAULTS_CLOCK_SECONDS"])
right_time, right_now = time.time, timezone.now


def now() -> datetime:
    """What this machine takes for now."""
    return right_now() + timedelta(seconds=SECONDS)


# Before anything of the site is imported: both are the machine's, not ours.
timezone.now = now
time.time = lambda: right_time() + SECONDS

from example_project.asgi import application  # noqa: E402

__all__ = ["application"]
