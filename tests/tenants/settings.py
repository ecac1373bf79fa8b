"""Settings of a site of django-tenants, on the PostgreSQL server of DATABASE_URL."""

import os
from urllib.parse import urlsplit

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE

server = urlsplit(os.environ["DATABASE_URL"])
SHARED_APPS = ["django_tenants", "tests.tenants.shops", "django.contrib.contenttypes"]
TENANT_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_perso",
]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "shops.Shop"
TENANT_DOMAIN_MODEL = "shops.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": server.path[1:],
        "USER": server.username,
        "HOST": server.hostname,
        "PORT": server.port,
    }
}
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware", *MIDDLEWARE]
