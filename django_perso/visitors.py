"""Who sends a request: user, cookie, address, origin. Only this module reads these."""

import ipaddress
import secrets
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from .conf import conf, is_csrf_trusted
from .services.limits import Visitor

COOKIE = "perso_visitor"
COOKIE_SALT = "django_perso.visitor"
COOKIE_SECONDS = 30 * 24 * 3600


def identify(request: HttpRequest) -> Visitor:
    """Return the visitor of this request. Reads the database.

    A first-time visitor gets an id, which `remember` puts into a cookie.
    """
    user = getattr(request, "user", None)
    return Visitor(
        id=cookie_id(request) or _new_id(request),
        user=user if user is not None and user.is_authenticated else None,
        address=address(request),
    )


def logged_in(request: HttpRequest) -> Any:
    """Return the user of a socket's request, which no middleware has seen, or None.

    Reads the database.
    """
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request.session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    # After a change of SECRET_KEY `get_user` would give the session another key, but a
    # socket cannot set the cookie.
    setattr(request.session, "cycle_key", lambda: None)  # noqa: B010
    user = auth.get_user(request)
    return user if user.is_authenticated else None


def _new_id(request: HttpRequest) -> str:
    # From the CSRF cookie if there is one, so that two tabs that start at the same time
    # belong to one visitor.
    if secret := request.META.get("CSRF_COOKIE"):
        return salted_hmac(COOKIE_SALT, secret, algorithm="sha256").hexdigest()[:32]
    return secrets.token_urlsafe(16)


def cookie_id(request: HttpRequest) -> str:
    """Return the id in the visitor's signed cookie, or "" without a valid one."""
    return (
        request.get_signed_cookie(
            COOKIE, default="", salt=COOKIE_SALT, max_age=COOKIE_SECONDS
        )
        or ""
    )


def remember(request: HttpRequest, response: HttpResponse, visitor_id: str) -> None:
    """Set the visitor's cookie on the response, wherever the session's is sent too."""
    response.set_signed_cookie(
        COOKIE,
        visitor_id,
        salt=COOKIE_SALT,
        max_age=COOKIE_SECONDS,
        httponly=True,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        samesite=settings.SESSION_COOKIE_SAMESITE,
        secure=settings.SESSION_COOKIE_SECURE or request.is_secure(),
    )


def address(request: HttpRequest) -> str | None:
    """Return the visitor's address, or the network of an IPv6 address.

    Of X-Forwarded-For only what PERSO["TRUSTED_PROXY_COUNT"] proxies wrote counts. If
    they wrote none, the nearest hop is used: no address would mean no limit for it.
    """
    hops = [request.META.get("REMOTE_ADDR", "")]
    if conf.TRUSTED_PROXY_COUNT:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        hops.insert(0, forwarded[-conf.TRUSTED_PROXY_COUNT :][0].strip())
    return next(filter(None, map(_network, hops)), None)


def _network(hop: str) -> str | None:
    # An IPv6 visitor owns a whole /64.
    has_port = hop.count(":") == 1 or "]:" in hop
    host = hop.rpartition(":")[0] if has_port else hop
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), 64), strict=False).network_address)


def is_trusted_origin(request: HttpRequest) -> bool:
    """Return whether a page of this site, or of a CSRF_TRUSTED_ORIGINS, has sent this.

    Scheme, host and port must be equal. A request without an origin, or from an opaque
    one ("null"), is refused.
    """
    origin = request.META.get("HTTP_ORIGIN", "")
    try:
        is_own = origin == _own_origin(request)
    except DisallowedHost:
        return False
    return bool(origin) and (is_own or is_csrf_trusted(origin))


def is_allowed_origin(request: HttpRequest) -> bool:
    """Return whether pages of the request's origin may write to the log."""
    origin = request.META.get("HTTP_ORIGIN", "")
    return is_trusted_origin(request) or origin in conf.ALLOWED_ORIGINS


def origin_hint(request: HttpRequest) -> str:
    """Return what to change when a page's origin is refused."""
    return (
        f"Origin {request.META.get('HTTP_ORIGIN')!r} is not this site's. "
        "Behind a proxy set SECURE_PROXY_SSL_HEADER and USE_X_FORWARDED_HOST. "
        "Add your other sites to CSRF_TRUSTED_ORIGINS."
    )


def _own_origin(request: HttpRequest) -> str:
    """Return this site's origin as browsers write it: lower case, no default port."""
    host = request.get_host().lower()
    if request.scheme in ("https", "wss"):
        return f"https://{host.removesuffix(':443')}"
    return f"http://{host.removesuffix(':80')}"
