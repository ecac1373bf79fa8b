"""What a page's Content-Security-Policy and Permissions-Policy must allow."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.conf import settings

from .conf import PERSO_SERVERS, conf

# Directive → sources.
Policy = Mapping[str, Any]
# The directives that decide: the first of them that a policy has.
DECIDING = {
    "script-src": ("script-src-elem", "script-src", "default-src"),
    "connect-src": ("connect-src", "default-src"),
    "img-src": ("img-src", "default-src"),
}
# Of Trusted Types, which sdk-loader.js creates.
TRUSTED_TYPES_POLICY = "django-perso"


@dataclass(frozen=True)
class Gap:
    """Sources that a policy forbids.

    They are missing in `directive`, about which `decided_by` decides in this policy.
    """

    directive: str
    decided_by: str
    missing: list[str]

    def __str__(self) -> str:
        return f"{self.directive} needs {' '.join(self.missing)}"


def own_host() -> str:
    """Return a name that this site answers to."""
    names = (host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*")
    return next(names, "localhost")


def gaps(
    policy: Policy, servers: Iterable[str] = (), pictures: Iterable[str] = ()
) -> list[Gap]:
    """Return what a policy forbids.

    `servers` are those of the keys; without any, the one in settings counts. `pictures`
    are the addresses of those that the admin shows.
    """
    gaps = []
    needs = {**_needs(servers), "img-src": list(pictures)}
    for directive, urls in needs.items():
        decided_by = _deciding(policy, directive)
        if not decided_by:
            continue
        texts = _texts(policy[decided_by])
        # The tag and the widget put the page's nonce on every script.
        if directive == "script-src" and any("nonce" in text.lower() for text in texts):
            continue
        forbidden = [
            url for url in urls if not any(_allows(text, url) for text in texts)
        ]
        if forbidden:
            missing = list(dict.fromkeys(_source(url) for url in forbidden))
            gaps.append(Gap(directive, decided_by, missing))
    names = policy.get("trusted-types")
    if names is not None and {"*", TRUSTED_TYPES_POLICY}.isdisjoint(_texts(names)):
        gaps.append(Gap("trusted-types", "trusted-types", [TRUSTED_TYPES_POLICY]))
    return gaps


def _texts(values: Any) -> list[str]:
    """Return the values of a directive, which settings may hold in several forms."""
    if isinstance(values, str | bool):
        values = [values]
    return [str(value) for value in values]


def _deciding(policy: Policy, directive: str) -> str:
    """Return which directive of a policy decides about another one, or ""."""
    for name in DECIDING[directive]:
        if policy.get(name) is not None:
            return name
    return ""


def parse_csp(header: str) -> list[Policy]:
    """Return the policies of a Content-Security-Policy header, all of which apply."""
    return [_parse_policy(policy) for policy in header.split(",")]


def _parse_policy(text: str) -> Policy:
    directives = [part.split() for part in text.split(";")]
    return {words[0].lower(): words[1:] for words in directives if words}


def allows_microphone(header: str) -> bool:
    """Return whether a Permissions-Policy header lets pages use the microphone."""
    match = re.search(r"\bmicrophone\s*=\s*(\([^)]*\)|[^,\s]*)", header)
    if match is None:
        return True
    allowed = match[1].strip("()").split()
    return "self" in allowed or "*" in allowed


def _own() -> str:
    return f"https://{own_host()}"


def _needs(servers: Iterable[str]) -> dict[str, list[str]]:
    """Return what the widget loads and connects to, by directive."""
    own = _own()
    sdk = conf.SDK_URL or own
    server = conf.API_SERVER or (own if conf.is_sandbox_on else PERSO_SERVERS[0])
    servers = list(servers) or [server]
    scripts = [urljoin(own, settings.STATIC_URL or ""), urljoin(own, sdk)]
    return {"script-src": scripts, "connect-src": [own, *servers]}


def _source(url: str) -> str:
    """Return a URL's origin as a policy names it."""
    parts = urlsplit(url)
    if parts.netloc == own_host():
        return "'self'"
    if not parts.netloc:
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"


def _allows(source: str, url: str) -> bool:
    if source == "'self'":
        return urlsplit(url).netloc == own_host()
    if source.endswith(":"):  # a scheme
        return url.startswith(source)
    pattern = source if "://" in source else f"*://{source}"
    return fnmatchcase(url, pattern) or fnmatchcase(url, pattern.rstrip("/") + "/*")
