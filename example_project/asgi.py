"""The example site as an ASGI application: Django's own, and the avatar's log socket."""

import os

from django_perso.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")

application = get_asgi_application()
