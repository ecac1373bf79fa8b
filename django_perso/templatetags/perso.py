"""`{% perso_avatar %}`, `{% perso_avatar "slug" %}` and `{% perso_sdk %}`.

The tags make no query and no network call. With DEBUG on, a mistake raises an error
that contains the line to paste. With DEBUG off, a tag never breaks the page it is on,
which may be the site's own error page.
"""

import json
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django import template
from django.apps import apps
from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import (
    get_language,
    get_supported_language_variant,
    gettext_noop,
    override,
)
from django.utils.translation import gettext as _

from ..conf import conf

try:
    from django.middleware.csp import get_nonce
except ImportError:  # before Django 6.0

    def get_nonce(request: HttpRequest) -> None:  # type: ignore[misc]
        """Return None: this Django makes no nonces."""


register = template.Library()
log = logging.getLogger("django_perso")
Tag = Callable[..., SafeString]

# What the first screen needs; the rest is loaded when a visitor shows interest.
FIRST_SCREEN = ("view", "style", "words")
# What is loaded only where the site demands consent, or visitors may talk.
ON_DEMAND = (
    "consent",
    "talking",
    "voice-controls",
    "voice",
    "recorder",
    "microphone",
    "speech",
)
MODULES = (
    *FIRST_SCREEN,
    "sentences",
    "messages",
    "conversation",
    "sdk-loader",
    "adapter",
    "frames",
    "outbox",
    "transport",
    "store",
    "tools",
    *ON_DEMAND,
)
# What the widget may show before its other words are loaded. words.js and view.js use
# the same texts.
FIRST_WORDS = (
    gettext_noop("Cancel"),
    gettext_noop("Connecting…"),
    gettext_noop("Conversation ended"),
    gettext_noop("Conversation with an avatar"),
    gettext_noop("Messages"),
    gettext_noop("Messages will appear here."),
    gettext_noop("Not connected"),
    gettext_noop("Not started"),
    gettext_noop("Parts of this page could not be loaded. Check your connection."),
    gettext_noop("Privacy"),
    gettext_noop("Reload"),
    gettext_noop("Send"),
    gettext_noop("Start again"),
    gettext_noop("Start conversation"),
    gettext_noop("This page is out of date. Reload."),
    gettext_noop("Try again"),
    gettext_noop("You ended the conversation."),
    gettext_noop("You will be talking with an AI. The conversation is stored."),
    gettext_noop("Your message"),
)


def with_fallback(fallback: Callable[[], SafeString]) -> Callable[[Tag], Tag]:
    """Make a tag render `fallback` instead of raising while DEBUG is off."""

    def decorate(tag: Tag) -> Tag:
        @wraps(tag)
        def render(*args: Any, **kwargs: Any) -> SafeString:
            try:
                return tag(*args, **kwargs)
            except Exception as error:  # of any kind: a storage or middleware may fail
                if settings.DEBUG:
                    raise
                log.warning(
                    "{%% %s %%} did not render the avatar: %s", tag.__name__, error
                )
                return fallback()

        return render

    return decorate


def _unavailable() -> SafeString:
    text = _("The avatar is not available on this page.")
    return format_html('<p class="perso-avatar-unavailable">{}</p>', text)


@register.simple_tag(takes_context=True)
@with_fallback(_unavailable)
def perso_avatar(
    context: template.Context,
    preset: str = "",
    *,
    lang: str = "",
    theme: str = "",
    voice: str = "",
    review: bool = False,
) -> SafeString:
    """Render the avatar of a preset, or of the default one, and load its script.

    `lang` is the language of the widget's words, the page's if empty; `theme` is
    "light", "dark", or "auto" for the page's color-scheme; `voice` is how visitors
    talk, as the preset says if empty. With `review` they see what was understood in the
    text field before it is sent.
    """
    request = _request(context)
    if request is None:
        raise template.TemplateSyntaxError(
            "{% perso_avatar %} needs the request. Render the template with it: "
            'render(request, "page.html")'
        )
    try:
        endpoint = _reverse("django_perso:start_session")
    except NoReverseMatch as error:
        raise template.TemplateSyntaxError(
            "{% perso_avatar %} needs the app's URLs. Add to your urls.py: "
            'path("perso/", include("django_perso.urls"))'
        ) from error
    # Looked up here, because importing the models takes a while.
    ways = apps.get_model("django_perso", "SessionPreset").Voice.values
    if voice and voice not in ways:
        raise template.TemplateSyntaxError(
            f'{{% perso_avatar %}} has no voice "{voice}". '
            f"Choose one of: {', '.join(ways)}."
        )
    url, integrity = _sdk()
    nonce = _nonce(context)
    language = _language(lang)
    modules = {name: static(f"django_perso/{name}.js") for name in MODULES}
    with override(language):
        # Shown until the script has run, and in browsers that cannot run it.
        fallback = _("The avatar needs JavaScript and a current browser.")
        words = {text: _(text) for text in FIRST_WORDS if _(text) != text}
    attributes: dict[str, str | bool] = {
        "preset": preset,
        "endpoint": endpoint,
        "csrf-token": get_token(request),
        "sdk-url": url,
        "sdk-integrity": integrity,
        "nonce": nonce,
        "lang": language if lang else "",
        "theme": theme,
        "voice": voice,
        "review": bool(review),
        "privacy-url": conf.PRIVACY_URL,
        "data-modules": json.dumps(modules),
        "data-words": json.dumps(words) if words else "",
        "data-words-url": _reverse("django_perso:words", language),
    }
    return format_html(
        "<perso-avatar{}>{}</perso-avatar>\n"
        '{}<script type="module" src="{}"{}></script>',
        _attributes(attributes),
        fallback,
        _preloads([modules[name] for name in FIRST_SCREEN], nonce),
        static("django_perso/perso-avatar.js"),
        _attributes({"nonce": nonce}),
    )


@register.simple_tag(takes_context=True)
@with_fallback(SafeString)
def perso_sdk(context: template.Context) -> SafeString:
    """Render the SDK's script, for pages that call `PersoInteractive` themselves.

    The avatar loads the SDK by itself.
    """
    url, integrity = _sdk()
    attributes = {"integrity": integrity, "nonce": _nonce(context)}
    return format_html(
        '<script src="{}" crossorigin="anonymous" defer{}></script>',
        url,
        _attributes(attributes),
    )


def _language(lang: str) -> str:
    """Return `lang` or else the page's language, if it is supported."""
    try:
        return get_supported_language_variant(lang or get_language())
    except LookupError:
        return settings.LANGUAGE_CODE


def _preloads(urls: list[str], nonce: str) -> SafeString:
    """Return links that fetch modules while the importing script still loads."""
    return format_html_join(
        "",
        '<link rel="modulepreload" href="{}"{}>\n',
        ((url, _attributes({"nonce": nonce})) for url in urls),
    )


def _sdk() -> tuple[str, str]:
    """Return the SDK's address and its integrity, which is "" if unknown."""
    if url := conf.SDK_URL:
        return url, conf.SDK_INTEGRITY
    return _reverse("django_perso:sandbox", "perso-interactive-sdk.js"), ""


def _request(context: template.Context) -> HttpRequest | None:
    """Return the request, or None if the page was rendered without it.

    Templates that see nothing of their surroundings, such as those of inclusion tags
    and of `{% include … only %}`, have it as an attribute of their context.
    """
    return getattr(context, "request", None) or context.get("request")


def _reverse(name: str, *args: str) -> str:
    """Return a URL of the app, also where a middleware has set `request.urlconf`."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return reverse(name, args=args, urlconf=settings.ROOT_URLCONF)


def _nonce(context: template.Context) -> str:
    """Return the page's CSP nonce, or "".

    Django's context processor puts it into the context, django-csp on the request.
    """
    request = _request(context)
    nonce = context.get("csp_nonce")
    if nonce is None:
        nonce = getattr(request, "csp_nonce", None)
    if nonce is None and request is not None:
        nonce = get_nonce(request)
    # A lazy nonce is falsy until somebody asks for its text.
    return "" if nonce is None else str(nonce)


def _attributes(attributes: Mapping[str, str | bool]) -> SafeString:
    """Return attributes as HTML. Empty ones are left out, but for the preset."""
    parts = []
    for name, value in attributes.items():
        if value is True:
            parts.append(format_html(" {}", name))
        elif value or name == "preset":
            parts.append(format_html(' {}="{}"', name, value))
    return SafeString("".join(parts))
