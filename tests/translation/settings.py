"""The example site in the pseudo-locale of the directory PERSO_TEST_LOCALE."""

import os

from example_project.settings import *  # noqa: F403
from tests.support.pseudo import LANGUAGE

LANGUAGE_CODE = LANGUAGE
LANGUAGES = [(LANGUAGE, "Pseudo")]
LOCALE_PATHS = [os.environ["PERSO_TEST_LOCALE"]]
