"""The visitor of a request: cookie, user, address and origin."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import Client, RequestFactory

from django_perso import visitors


def request(**meta: Any) -> Any:
    return RequestFactory().get("/", **meta)


def with_cookie_of(response: HttpResponse) -> Any:
    """Return a request with the visitor cookie of a response."""
    following = request()
    following.COOKIES[visitors.COOKIE] = response.cookies[visitors.COOKIE].value
    return following


def test_new_visitor_gets_an_id_and_keeps_it() -> None:
    first = visitors.identify(request())
    response = HttpResponse()
    visitors.remember(request(), response, first.id)
    assert len(first.id) >= 20
    assert (visitors.identify(with_cookie_of(response))).id == first.id
    assert visitors.identify(request()).id != first.id


def test_two_tabs_without_cookie_are_the_same_visitor() -> None:
    one, other, stranger = [
        (visitors.identify(request(CSRF_COOKIE=secret))).id for secret in "aab"
    ]
    assert one == other != stranger


@pytest.mark.parametrize("secure", [True, False])
def test_visitor_cookie_is_signed_and_restricted(
    secure: bool,
) -> None:
    response = HttpResponse()
    visitors.remember(request(secure=secure), response, "me")
    cookie = response.cookies[visitors.COOKIE]
    assert (cookie["httponly"], cookie["samesite"], bool(cookie["secure"])) == (
        True,
        "Lax",
        secure,
    )
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    forged = with_cookie_of(response)
    forged.COOKIES[visitors.COOKIE] = cookie.value.replace("me", "you", 1)
    assert visitors.cookie_id(forged) == ""


def test_visitor_cookie_goes_wherever_the_session_cookie_goes(settings: Any) -> None:
    settings.SESSION_COOKIE_SAMESITE = "None"
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSION_COOKIE_PATH = "/shop"
    settings.SESSION_COOKIE_DOMAIN = ".example"
    response = HttpResponse()
    visitors.remember(request(), response, "me")
    cookie = response.cookies[visitors.COOKIE]
    names = ("samesite", "secure", "path", "domain")
    assert [cookie[name] for name in names] == ["None", True, "/shop", ".example"]


@pytest.mark.django_db
def test_login_under_an_older_secret_key_is_kept(
    settings: Any,
) -> None:
    client = Client()
    user = User.objects.create(username="me")
    client.force_login(user)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    session_key = client.cookies[settings.SESSION_COOKIE_NAME].value
    later = request()
    later.COOKIES[settings.SESSION_COOKIE_NAME] = session_key
    assert visitors.logged_in(later) == user
    assert Session.objects.filter(pk=session_key).exists()


def test_anonymous_user_is_none() -> None:
    anonymous = request()
    anonymous.user = AnonymousUser()
    assert visitors.identify(anonymous).user is None


@pytest.mark.parametrize(
    ("proxies", "remote", "forwarded", "address"),
    [
        (0, "198.51.100.7", None, "198.51.100.7"),
        # Without a trusted proxy the header is forged.
        (0, "198.51.100.7", "203.0.113.9", "198.51.100.7"),
        (1, "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        # The visitor has written the first address.
        (1, "10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (1, "10.0.0.1", None, "10.0.0.1"),
        # Some proxies add the port.
        (1, "10.0.0.1", "203.0.113.9:2222", "203.0.113.9"),
        (1, "10.0.0.1", "[2001:db8::1]:443", "2001:db8::"),
        (1, "10.0.0.1", "[2001:db8::1]", "2001:db8::"),
        # An address is always found, since limits need one.
        (1, "10.0.0.1", "203.0.113.9, _hidden:80", "10.0.0.1"),
        (1, "10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        (0, "", None, None),
        (0, "2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::"),
        (0, "2001:db8:1:2:ffff::1", None, "2001:db8:1:2::"),
        (0, "::ffff:198.51.100.7", None, "198.51.100.7"),
    ],
)
def test_address_is_that_seen_by_the_trusted_proxy(
    settings: Any, proxies: int, remote: str, forwarded: str | None, address: str | None
) -> None:
    settings.PERSO = {"TRUSTED_PROXY_COUNT": proxies}
    meta = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert visitors.address(request(REMOTE_ADDR=remote, **meta)) == address


ORIGINS = [
    ("https://shop.example", True),
    ("https://partner.example", True),  # in ALLOWED_ORIGINS
    (None, False),
    ("", False),
    ("null", False),
    ("http://shop.example", False),
    ("https://shop.example:8443", False),
    ("https://shop.example:443", False),  # no browser writes it
    ("https://www.shop.example", False),
    ("https://example", False),
    ("https://shop.example.evil.test", False),
    ("https://shop.example.", False),
    ("https://SHOP.example", False),
    ("HTTPS://shop.example", False),
    ("https://shop.example@evil.test", False),
    ("https://evil.test@shop.example", False),
    ("https://shop.example/", False),
    ("https://shop.exämple", False),
    ("https://partner.example.evil.test", False),
]


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS)
def test_only_the_exact_origin_may_write(
    settings: Any, origin: str | None, allowed: bool
) -> None:
    settings.PERSO = {"ALLOWED_ORIGINS": ["https://partner.example"]}
    headers = {} if origin is None else {"HTTP_ORIGIN": origin}
    assert (
        visitors.is_allowed_origin(
            request(HTTP_HOST="shop.example", secure=True, **headers)
        )
        is allowed
    )


@pytest.mark.parametrize(
    ("origin", "trusted"),
    [
        ("https://app.example", True),
        ("https://eu.app.example", False),
        ("https://one.wild.example", True),
        ("https://a.b.wild.example", True),
        ("https://wild.example", True),
        ("https://one.wild.example:8443", False),
        ("http://one.wild.example", False),
        ("https://onewild.example", False),
        ("https://wild.example.evil.test", False),
        ("null", False),
    ],
)
def test_csrf_trusted_origins_are_trusted(
    settings: Any, origin: str, trusted: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.example", "https://*.wild.example"]
    settings.PERSO = {"ALLOWED_ORIGINS": ["https://partner.example"]}
    sent = request(HTTP_HOST="shop.example", HTTP_ORIGIN=origin, secure=True)
    assert visitors.is_trusted_origin(sent) is trusted
    assert visitors.is_allowed_origin(sent) is trusted
    partner = request(HTTP_ORIGIN="https://partner.example")
    assert not visitors.is_trusted_origin(partner)
    assert visitors.is_allowed_origin(partner)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("Shop.Example:443", "https://shop.example"),
        ("shop.example:8443", "https://shop.example:8443"),
    ],
)
def test_own_origin_is_compared_as_browsers_write_it(host: str, origin: str) -> None:
    assert visitors.is_allowed_origin(
        request(HTTP_HOST=host, HTTP_ORIGIN=origin, secure=True)
    )


def test_proxied_origin_needs_trusted_headers(
    settings: Any,
) -> None:
    headers = {
        "HTTP_HOST": "10.0.0.5:8000",
        "HTTP_X_FORWARDED_HOST": "shop.example",
        "HTTP_X_FORWARDED_PROTO": "https",
    }
    proxied = request(HTTP_ORIGIN="https://shop.example", **headers)
    assert not visitors.is_allowed_origin(proxied)
    assert "SECURE_PROXY_SSL_HEADER" in visitors.origin_hint(proxied)
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.USE_X_FORWARDED_HOST = True
    assert visitors.is_allowed_origin(proxied)


def test_unknown_host_is_not_an_own_origin(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.example"]
    origin = "https://evil.test"
    foreign = request(HTTP_HOST="evil.test", HTTP_ORIGIN=origin, secure=True)
    assert not visitors.is_allowed_origin(foreign)
