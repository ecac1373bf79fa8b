"""`perso_avatar()` and `perso_sdk()` for templates of Django's Jinja2 backend."""

from jinja2 import pass_context

from .templatetags import perso

# Both template tags only ask their context for values by name, which Jinja2's can do
# too.
perso_avatar = pass_context(perso.perso_avatar)
perso_sdk = pass_context(perso.perso_sdk)

__all__ = ["perso_avatar", "perso_sdk"]
