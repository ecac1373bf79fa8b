"""Who is on the other end of a request: user, cookie, address, origin. The only place that reads these."""

import ipaddress
import secrets
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from .conf import conf
from .services.limits import Visitor

COOKIE = "perso_visitor"
COOKIE_SALT = "django_perso.visitor"
COOKIE_SECONDS = 30 * 24 * 3600


def identify(request: HttpRequest) -> Visitor:
    """The visitor of this request; a first-time visitor gets an id, which `remember` sends home. Reads the
    database."""
    user = getattr(request, "user", None)
    return Visitor(
        id=cookie_id(request) or _new_id(request),
        user=user if user is not None and user.is_authenticated else None,
        address=address(request),
    )


def logged_in(request: HttpRequest) -> Any:
    """The user of a socket's request, or None: no middleware has been there. Reads the database."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request.session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    # Since another SECRET_KEY came `get_user` would rename the session, and a socket sets no cookie.
    setattr(request.session, "cycle_key", lambda: None)  # noqa: B010
    user = auth.get_user(request)
    return user if user.is_authenticated else None


def is_known_to_sockets(request: HttpRequest, user: Any) -> bool:
    """Whether `logged_in` finds this user too, and not only some middleware of the site."""
    return user is None or auth.SESSION_KEY in getattr(request, "session", {})


def _new_id(request: HttpRequest) -> str:
    # From the CSRF cookie where there is one, so that two tabs that start at once are the same visitor.
    if secret := request.META.get("CSRF_COOKIE"):
        return salted_hmac(COOKIE_SALT, secret, algorithm="sha256").hexdigest()[:32]
    return secrets.token_urlsafe(16)


def cookie_id(request: HttpRequest) -> str:
    """The id in the visitor's signed cookie, or "" without a valid one."""
    return (
        request.get_signed_cookie(
            COOKIE, default="", salt=COOKIE_SALT, max_age=COOKIE_SECONDS
        )
        or ""
    )


def remember(request: HttpRequest, response: HttpResponse, visitor_id: str) -> None:
    """Set the visitor's cookie on the response."""
    response.set_signed_cookie(
        COOKIE,
        visitor_id,
        salt=COOKIE_SALT,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure(),
    )


def address(request: HttpRequest) -> str | None:
    """The visitor's address; of X-Forwarded-For only what PERSO["TRUSTED_PROXY_COUNT"] proxies wrote counts.

    Where they wrote none the nearest hop stands in: without an address there would be no limit for it.
    """
    hops = [request.META.get("REMOTE_ADDR", "")]
    if conf.TRUSTED_PROXY_COUNT:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        hops.insert(0, forwarded[-conf.TRUSTED_PROXY_COUNT :][0].strip())
    return next(filter(None, map(_network, hops)), None)


def _network(hop: str) -> str | None:
    # An IPv6 visitor owns a whole /64, so that network stands for the visitor.
    try:
        ip = ipaddress.ip_address(hop)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), 64), strict=False).network_address)


def is_allowed_origin(request: HttpRequest) -> bool:
    """Whether the request comes from a page of this site (scheme, host and port), or of an allowed origin.

    A request without Origin, or from an opaque one ("null"), is refused.
    """
    origin = request.META.get("HTTP_ORIGIN", "")
    try:
        return bool(origin) and (
            origin == _own_origin(request) or origin in conf.ALLOWED_ORIGINS
        )
    except DisallowedHost:
        return False


def origin_hint(request: HttpRequest) -> str:
    """What to change when a page's origin is refused."""
    return (
        f"Origin {request.META.get('HTTP_ORIGIN')!r} is not this site's. Behind a proxy set "
        'SECURE_PROXY_SSL_HEADER and USE_X_FORWARDED_HOST. Add your other sites to PERSO["ALLOWED_ORIGINS"].'
    )


def _own_origin(request: HttpRequest) -> str:
    """This site's origin as a browser writes it: lower case, no default port."""
    scheme, port = (
        ("https", ":443") if request.scheme in ("https", "wss") else ("http", ":80")
    )
    return f"{scheme}://{request.get_host().lower().removesuffix(port)}"
