"""`{% perso_avatar %}` and `{% perso_sdk %}`: output, errors and fallbacks."""

import json
import re
import subprocess
import sys
from html import escape, unescape
from types import ModuleType
from typing import Any

import pytest
from django.middleware.csrf import _does_token_match, get_token  # type: ignore[attr-defined]
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.urls import include, path
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
    with pytest.raises(
        TemplateSyntaxError, match=r'"django.template.context_processors.request"'
    ):
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
    assert "django.template.context_processors.request" in caplog.text


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


def test_error_page_with_the_tag_does_not_hide_the_error(
    settings: Any, tmp_path: Any, client: Any
) -> None:
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


def failing_view(request: Any) -> Any:
    raise ZeroDivisionError


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
