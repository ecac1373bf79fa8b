"""Who is on the other end of a request: user, cookie, address, origin. The only place that reads these."""

import ipaddress
import secrets

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from .conf import conf
from .services.limits import Visitor

COOKIE = "perso_visitor"
COOKIE_SALT = "django_perso.visitor"
COOKIE_SECONDS = 30 * 24 * 3600


async def identify(request: HttpRequest) -> Visitor:
    """The visitor of this request; a first-time visitor gets an id, which `remember` sends home."""
    user = await request.auser() if hasattr(request, "auser") else None
    return Visitor(
        id=cookie_id(request) or secrets.token_urlsafe(16),
        user=user if user is not None and user.is_authenticated else None,
        address=address(request),
    )


def cookie_id(request: HttpRequest) -> str:
    """The id in the visitor's signed cookie, or "" without a valid one."""
    return request.get_signed_cookie(COOKIE, default="", salt=COOKIE_SALT, max_age=COOKIE_SECONDS) or ""


def remember(request: HttpRequest, response: HttpResponse, visitor: Visitor) -> None:
    """Set the visitor's cookie on the response."""
    response.set_signed_cookie(
        COOKIE,
        visitor.id,
        salt=COOKIE_SALT,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure(),
    )


def address(request: HttpRequest) -> str | None:
    """The visitor's address; of X-Forwarded-For only what PERSO["TRUSTED_PROXY_COUNT"] proxies wrote counts.

    An IPv6 visitor owns a whole /64, so that network stands for the visitor.
    """
    hops = [request.META.get("REMOTE_ADDR", "")]
    if conf.TRUSTED_PROXY_COUNT:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        hops = [hop.strip() for hop in forwarded][-conf.TRUSTED_PROXY_COUNT :]
    try:
        ip = ipaddress.ip_address(hops[0])
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
        return bool(origin) and (origin == _own_origin(request) or origin in conf.ALLOWED_ORIGINS)
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
    scheme, port = ("https", ":443") if request.scheme in ("https", "wss") else ("http", ":80")
    return f"{scheme}://{request.get_host().lower().removesuffix(port)}"
