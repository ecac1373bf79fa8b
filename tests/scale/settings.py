"""The example site without a channel layer."""

from example_project.settings import *  # noqa: F403

CHANNEL_LAYERS = {}
