"""`{% perso_avatar %}` and `{% perso_sdk %}`: output, errors and fallbacks."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape, unescape
from types import ModuleType
from typing import Any

import pytest
from django import VERSION
from django.core import mail
from django.http import HttpResponse
from django.middleware.csrf import _does_token_match, get_token  # type: ignore[attr-defined]
from django.template import Context, Library, Template, TemplateSyntaxError, engines
from django.test import RequestFactory
from django.urls import include, path, set_urlconf
from django.utils.functional import SimpleLazyObject

from django_perso.conf import PINNED_SDK_INTEGRITY, PINNED_SDK_URL
from django_perso.models import SessionPreset
from django_perso.templatetags.perso import MODULES


class Nonce(SimpleLazyObject):  # type: ignore[type-arg]
    """Like Django's LazyNonce: false until its text has been read."""

    def __bool__(self) -> bool:
        return self._wrapped is not None and isinstance(self._wrapped, str)


def rendered(tag: str, **context: Any) -> str:
    context.setdefault("request", RequestFactory().get("/"))
    return Template("{% load perso %}" + tag).render(Context(context))


def attributes(html: str, element: str) -> dict[str, str]:
    tag = re.findall(rf"<{element}\b([^>]*)>", html)[0]
    return {
        name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)
    }


def test_avatar_renders_the_expected_html(settings: Any) -> None:
    settings.PERSO = {"API_KEY": "pak-1"}
    html = re.sub(
        r'csrf-token="\w{64}"',
        'csrf-token="…"',
        rendered('{% perso_avatar "guide" %}', csp_nonce="n1"),
    )
    modules = {name: f"/static/django_perso/{name}.js" for name in MODULES}
    preloads = "".join(
        f'<link rel="modulepreload" href="/static/django_perso/{name}.js" nonce="n1">\n'
        for name in ("view", "style", "words")
    )
    assert html == (
        '<perso-avatar preset="guide" endpoint="/perso/sessions/" csrf-token="…" '
        f'sdk-url="{PINNED_SDK_URL}" sdk-integrity="{PINNED_SDK_INTEGRITY}" nonce="n1" '
        f'data-modules="{escape(json.dumps(modules))}" '
        'data-words-url="/perso/words/en/">'
        "The avatar needs JavaScript and a current browser.</perso-avatar>\n"
        f'{preloads}<script type="module" src="/static/django_perso/perso-avatar.js" '
        'nonce="n1"></script>'
    )


def test_default_preset_has_an_empty_name() -> None:
    assert attributes(rendered("{% perso_avatar %}"), "perso-avatar")["preset"] == ""


@pytest.mark.parametrize("way", SessionPreset.Voice.values)
def test_page_chooses_how_visitors_talk(way: str) -> None:
    html = rendered("{% perso_avatar voice=way %}", way=way)
    assert attributes(html, "perso-avatar")["voice"] == way


def test_unknown_voice_under_debug_raises_the_known_ones(settings: Any) -> None:
    settings.DEBUG = True
    with pytest.raises(
        TemplateSyntaxError,
        match=r'no voice "push"\. Choose one of: off, hold, click, hands-free\.',
    ):
        rendered('{% perso_avatar voice="push" %}')


def test_unknown_voice_in_production_renders_the_fallback(caplog: Any) -> None:
    assert rendered('{% perso_avatar voice="push" %}') == UNAVAILABLE
    assert "Choose one of: off, hold, click, hands-free." in caplog.text


@pytest.mark.parametrize(
    ("tag", "is_reviewed"),
    [
        ("{% perso_avatar review=True %}", True),
        ("{% perso_avatar review=1 %}", True),
        ("{% perso_avatar review=False %}", False),
        ("{% perso_avatar review=missing %}", False),
        ("{% perso_avatar %}", False),
    ],
)
def test_review_is_a_boolean_attribute(tag: str, is_reviewed: bool) -> None:
    assert bool(re.search(r"<perso-avatar [^>]* review[ >]", rendered(tag))) is (
        is_reviewed
    )
    assert "voice" not in attributes(rendered(tag), "perso-avatar")


@pytest.mark.parametrize(
    "slug", ['"><script>alert(1)</script>', "' onload='x", "<b>&amp;"]
)
def test_hostile_slug_is_escaped(slug: str) -> None:
    html = rendered("{% perso_avatar slug %}", slug=slug)
    assert html.count("<") == 7  # two elements, opened and closed, and three links
    assert attributes(html, "perso-avatar")["preset"] == slug


def test_privacy_url_of_the_settings_is_passed_on(settings: Any) -> None:
    assert "privacy-url" not in rendered("{% perso_avatar %}")
    url = "https://example.com/privacy?a=1&b=2"
    settings.PERSO = {"PRIVACY_URL": url}
    avatar = attributes(rendered("{% perso_avatar %}"), "perso-avatar")
    assert avatar["privacy-url"] == url


def test_csrf_token_is_that_of_the_request() -> None:
    request = RequestFactory().get("/")
    token = attributes(rendered("{% perso_avatar %}", request=request), "perso-avatar")[
        "csrf-token"
    ]
    assert _does_token_match(token, request.META["CSRF_COOKIE"])
    assert request.META["CSRF_COOKIE_NEEDS_UPDATE"]
    assert len(get_token(request)) == len(token)


@pytest.mark.parametrize("where", ["context", "request", "both"])
@pytest.mark.parametrize("tag", ["{% perso_avatar %}", "{% perso_sdk %}"])
def test_lazy_nonce_of_the_page_is_used(where: str, tag: str) -> None:
    request: Any = RequestFactory().get("/")
    context = {"request": request}
    if where != "request":
        context["csp_nonce"] = Nonce(lambda: "abc")
    if where != "context":
        request.csp_nonce = Nonce(lambda: "abc" if where == "request" else "other")
    html = rendered(tag, **context)
    assert re.findall(r'\bnonce="(\w*)"', html) == ["abc"] * (
        5 if "avatar" in tag else 1
    )


@pytest.mark.parametrize("tag", ["{% perso_avatar %}", "{% perso_sdk %}"])
def test_missing_nonce_renders_no_attribute(tag: str) -> None:
    assert "nonce" not in rendered(tag)


@pytest.mark.usefixtures("outside_tests")
@pytest.mark.parametrize(
    ("perso", "url", "integrity"),
    [
        ({"API_KEY": "pak-1"}, PINNED_SDK_URL, PINNED_SDK_INTEGRITY),
        (
            {"API_KEY": "pak-1", "SDK_URL": "https://cdn.example/sdk.js"},
            "https://cdn.example/sdk.js",
            None,
        ),
        (
            {"SDK_URL": "/sdk.js?a=1&b=2", "SDK_INTEGRITY": "sha384-x"},
            "/sdk.js?a=1&b=2",
            "sha384-x",
        ),
        # The sandbox is off without DEBUG.
        ({"API_KEY": "sandbox"}, PINNED_SDK_URL, PINNED_SDK_INTEGRITY),
        (
            {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True},
            "/perso/sandbox/perso-interactive-sdk.js",
            None,
        ),
        (
            {"API_KEY": "sandbox", "API_SERVER": "http://127.0.0.1:1"},
            PINNED_SDK_URL,
            PINNED_SDK_INTEGRITY,
        ),
    ],
)
def test_sdk_and_integrity_follow_the_settings(
    settings: Any, perso: dict[str, Any], url: str, integrity: str | None
) -> None:
    settings.PERSO = perso
    avatar = attributes(rendered("{% perso_avatar %}"), "perso-avatar")
    assert (avatar["sdk-url"], avatar.get("sdk-integrity")) == (url, integrity)
    sdk = rendered("{% perso_sdk %}")
    assert " defer" in sdk
    expected = {"src": url, "crossorigin": "anonymous"} | (
        {"integrity": integrity} if integrity else {}
    )
    assert attributes(sdk, "script") == expected


def test_hashed_names_of_static_files_are_used(settings: Any, tmp_path: Any) -> None:
    names = ["perso-avatar", *MODULES]
    paths = {
        f"django_perso/{name}.js": f"django_perso/{name}.0123456789ab.js"
        for name in names
    }
    (tmp_path / "staticfiles.json").write_text(
        json.dumps({"version": "1.1", "hash": "", "paths": paths})
    )
    backend = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    html = rendered("{% perso_avatar %}")
    assert (
        attributes(html, "script")["src"]
        == "/static/django_perso/perso-avatar.0123456789ab.js"
    )
    modules = json.loads(attributes(html, "perso-avatar")["data-modules"])
    assert modules == {
        name: f"/static/django_perso/{name}.0123456789ab.js" for name in MODULES
    }
    assert modules["view"] in re.findall(r'rel="modulepreload" href="([^"]*)"', html)


@pytest.mark.django_db
def test_rendering_makes_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        rendered("{% perso_avatar %}{% perso_sdk %}")


def test_missing_request_under_debug_raises_the_line_to_paste(settings: Any) -> None:
    settings.DEBUG = True
    with pytest.raises(TemplateSyntaxError, match=r'render\(request, "page.html"\)'):
        Template("{% load perso %}{% perso_avatar %}").render(Context({}))


def without_urls() -> Any:
    """Return a URLconf that does not include the app's URLs."""
    empty: Any = ModuleType("no_urls")
    empty.urlpatterns = []
    return empty


def test_missing_urls_under_debug_raise_the_line_to_paste(settings: Any) -> None:
    settings.DEBUG = True
    settings.ROOT_URLCONF = without_urls()
    with pytest.raises(
        TemplateSyntaxError, match=r'path\("perso/", include\("django_perso.urls"\)\)'
    ):
        rendered("{% perso_avatar %}")


UNAVAILABLE = (
    '<p class="perso-avatar-unavailable">The avatar is not available on this page.</p>'
)


def test_missing_request_in_production_renders_the_fallback(caplog: Any) -> None:
    page = Template("{% load perso %}<main>{% perso_avatar %}</main>")
    assert page.render(Context({})) == f"<main>{UNAVAILABLE}</main>"
    assert 'render(request, "page.html")' in caplog.text


def test_missing_urls_in_production_render_the_fallback(settings: Any) -> None:
    settings.ROOT_URLCONF = without_urls()
    settings.PERSO = {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}
    assert rendered("{% perso_avatar %}{% perso_sdk %}") == UNAVAILABLE


def test_uncollected_static_files_render_the_fallback(
    settings: Any, tmp_path: Any
) -> None:
    backend = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    assert rendered("{% perso_avatar %}") == UNAVAILABLE


def test_broken_settings_in_production_render_the_fallback(settings: Any) -> None:
    settings.PERSO = "sandbox"
    assert rendered("{% perso_avatar %}{% perso_sdk %}") == UNAVAILABLE


@pytest.mark.filterwarnings("ignore:.*default mailer")  # of Django 6.1
def test_error_page_with_the_tag_does_not_hide_the_error(
    settings: Any, tmp_path: Any, client: Any
) -> None:
    operator = "operator@example.org"
    settings.ADMINS = [operator] if VERSION >= (6, 0) else [("Operator", operator)]
    (tmp_path / "base.html").write_text("{% load perso %}{% perso_avatar %}")
    (tmp_path / "500.html").write_text('{% extends "base.html" %}')
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    urls: Any = ModuleType("failing_urls")
    urls.urlpatterns = [path("fails/", failing_view), *django_perso_urls]
    settings.ROOT_URLCONF = urls
    client.raise_request_exception = False
    response = client.get("/fails/")
    assert response.status_code == 500
    assert response.content.decode() == UNAVAILABLE
    assert response.exc_info[0] is ZeroDivisionError
    [message] = mail.outbox
    assert "ZeroDivisionError" in message.body


def failing_view(request: Any) -> Any:
    raise ZeroDivisionError


# --- templates that do not see the request --------------------------------------------

ISOLATED = {
    "include": '{% include "avatar.html" only %}',
    "nested": '{% include "including.html" with x=1 only %}',
    "inclusion tag": "{% load isolated %}{% avatar_card %}",
    "name taken": '{% with request="a customer asks" %}{% perso_avatar %}{% endwith %}',
}


@pytest.fixture
def host_page(settings: Any, tmp_path: Any) -> Callable[..., str]:
    """`host_page(text, …)` renders a template of the host with the request."""
    avatar = '{% load perso %}{% perso_avatar "guide" %}{% perso_sdk %}'
    (tmp_path / "avatar.html").write_text(avatar)
    (tmp_path / "including.html").write_text('{% include "avatar.html" only %}')
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [tmp_path],
            "APP_DIRS": True,
            "OPTIONS": {
                "libraries": {"isolated": __name__},
                "context_processors": [],
            },
        }
    ]

    def render(text: str, request: Any = None) -> str:
        template = engines["django"].from_string("{% load perso %}" + text)
        html: str = template.render({}, request or RequestFactory().get("/"))
        return html

    return render


register = Library()


@register.inclusion_tag("avatar.html")
def avatar_card() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("text", ISOLATED.values(), ids=ISOLATED)
def test_isolated_template_uses_the_request_of_the_page(
    settings: Any, host_page: Any, text: str
) -> None:
    settings.DEBUG = True
    request: Any = RequestFactory().get("/")
    request.csp_nonce = "n1"
    html = host_page(text, request)
    avatar = attributes(html, "perso-avatar")
    assert _does_token_match(avatar["csrf-token"], request.META["CSRF_COOKIE"])
    assert set(re.findall(r'\bnonce="(\w*)"', html)) == {"n1"}


def test_isolated_template_uses_the_nonce_of_django(host_page: Any) -> None:
    request: Any = RequestFactory().get("/")
    request._csp_nonce = Nonce(lambda: "n6")
    html = host_page(ISOLATED["include"], request)
    nonces = {"n6"} if VERSION >= (6, 0) else set()
    assert set(re.findall(r'\bnonce="(\w*)"', html)) == nonces


# --- hosts with several URLconfs ------------------------------------------------------


@pytest.mark.parametrize("is_debug", [False, True])
def test_urlconf_without_the_app_falls_back_to_the_root(
    settings: Any, client: Any, tmp_path: Any, is_debug: bool
) -> None:
    settings.DEBUG = is_debug
    settings.PERSO = {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}
    (tmp_path / "404.html").write_text("{% load perso %}{% perso_avatar %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    settings.MIDDLEWARE = [f"{__name__}.blog_urls", *settings.MIDDLEWARE]
    responses = [client.get("/post/"), client.get("/missing/")]
    assert [response.status_code for response in responses] == [200, 404]
    pages = responses[:1] if is_debug else responses  # Django has a 404 page of its own
    for response in pages:
        avatar = attributes(response.content.decode(), "perso-avatar")
        assert avatar["endpoint"] == "/perso/sessions/"
        assert avatar["data-words-url"] == "/perso/words/en/"
        assert avatar["sdk-url"] == "/perso/sandbox/perso-interactive-sdk.js"


def test_urlconf_of_the_request_is_the_first_try(settings: Any) -> None:
    urls: Any = ModuleType("blog_with_the_app")
    urls.urlpatterns = [path("talk/", include("django_perso.urls"))]
    with override_urlconf(urls):
        avatar = attributes(rendered("{% perso_avatar %}"), "perso-avatar")
    assert avatar["endpoint"] == "/talk/sessions/"


def blog_urls(get_response: Any) -> Any:
    """Serve the URLs of the blog alone, as for its subdomain."""
    blog: Any = ModuleType("blog")
    blog.urlpatterns = [path("post/", post)]

    def middleware(request: Any) -> Any:
        request.urlconf = blog
        return get_response(request)

    return middleware


def post(request: Any) -> HttpResponse:
    template = engines["django"].from_string("{% load perso %}{% perso_avatar %}")
    return HttpResponse(template.render({}, request))


@contextmanager
def override_urlconf(urls: Any) -> Iterator[None]:
    set_urlconf(urls)
    try:
        yield
    finally:
        set_urlconf(None)


django_perso_urls = [path("perso/", include("django_perso.urls"))]


def test_template_tags_import_no_heavy_package() -> None:
    script = (
        "import sys, django_perso.templatetags.perso;"
        "heavy = {'httpx', 'cryptography', 'channels', 'aiortc'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
