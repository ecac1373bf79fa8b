"""The example site with a page from a cache, and the settings of EXTRA_SETTINGS."""

import json
import os

from example_project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.e2e.cached_urls"
globals().update(json.loads(os.environ["EXTRA_SETTINGS"]))
