"""Why Perso ended a session: its codes in words, for visitors and for staff.

The widget has the same sentences for visitors in `static/django_perso/words.js`.
"""

from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy as _


class Words(NamedTuple):
    """A reason as a sentence for the visitor, and as a few words for staff."""

    visitor: Any
    staff: Any


CLOSED = _("The conversation was closed.")
REASONS = {
    "GRACEFUL_TERMINATION": Words(CLOSED, _("closed normally")),
    "SESSION_EXPIRED_BEFORE_CONNECTION": Words(
        _("The connection to the avatar took too long."), _("never connected")
    ),
    "SESSION_LOST_AFTER_CONNECTION": Words(
        _("The connection to the avatar was lost."), _("connection lost")
    ),
    "SESSION_MISC_ERROR": Words(
        _("The avatar had a problem and had to stop."), _("an error at Perso")
    ),
    "MAX_ACTIVE_SESSION_QUOTA_EXCEEDED": Words(
        _("All avatars are busy. Please try again in a moment."), _("too many at once")
    ),
    "MAX_MIN_PER_SESSION_QUOTA_EXCEEDED": Words(
        _("This conversation reached its time limit."), _("time limit reached")
    ),
    "TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED": Words(
        _("This site has used up its avatar time for this month."),
        _("monthly minutes used up"),
    ),
    "INSUFFICIENT_CREDITS": Words(
        _("This site has used up its avatar time."), _("no credits left")
    ),
    # Not one of Perso's codes: it answers that it does not know the session.
    "NOT_FOUND": Words(CLOSED, _("no longer known to Perso")),
}


def for_staff(code: str) -> str:
    """Return a reason in words; one that is not known here is made legible."""
    words = REASONS.get(code)
    return code.replace("_", " ").lower() if words is None else str(words.staff)
