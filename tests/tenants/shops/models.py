"""A shop and its domains, as django-tenants needs them."""

from django_tenants.models import DomainMixin, TenantMixin


class Shop(TenantMixin):  # type: ignore[misc]
    """A tenant."""


class Domain(DomainMixin):  # type: ignore[misc]
    """A host name of a shop."""
