"""The example site as in production, on the sandbox, with every error in its log."""

from example_project.settings import *  # noqa: F403
from example_project.settings import PERSO

PERSO.update(SANDBOX_ALLOW_IN_PRODUCTION=True, RETENTION_DAYS=30)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
