"""manage.py perso_sandbox: a local Perso on its own port. See `sandbox.command`."""

from django_perso.sandbox.command import Command

__all__ = ["Command"]
