"""manage.py perso_sandbox: a local Perso on its own port; the command itself is in `sandbox`."""

from django_perso.sandbox.command import Command

__all__ = ["Command"]
