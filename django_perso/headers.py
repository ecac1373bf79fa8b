"""What a page's Content-Security-Policy and Permissions-Policy must allow for an avatar to live on it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.conf import settings

from .conf import PERSO_SERVERS, conf

Policy = Mapping[str, Any]  # directive → sources
# The directives that decide, the first that a policy has.
DECIDING = {
    "script-src": ("script-src-elem", "script-src", "default-src"),
    "connect-src": ("connect-src", "default-src"),
}


@dataclass(frozen=True)
class Gap:
    """What a policy forbids: sources that `directive` misses, as `decided_by` stands in the policy now."""

    directive: str
    decided_by: str
    missing: list[str]

    def __str__(self) -> str:
        return f"{self.directive} needs {' '.join(self.missing)}"


def own_host() -> str:
    """A name this site answers to."""
    return next(
        (host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*"),
        "localhost",
    )


def gaps(policy: Policy, servers: Iterable[str] = ()) -> list[Gap]:
    """What a policy forbids the avatar; `servers` are those of the keys (none: the one in settings)."""
    found = []
    for directive, urls in _needs(servers).items():
        decided_by = next(
            (name for name in DECIDING[directive] if policy.get(name) is not None), ""
        )
        sources = policy.get(decided_by, ())
        texts = (
            [sources]
            if isinstance(sources, str)
            else [str(source) for source in sources]
        )
        # The tag and the widget put the page's nonce on every script.
        has_nonce = directive == "script-src" and any(
            "nonce" in text.lower() for text in texts
        )
        missing = [
            _source(url)
            for url in urls
            if not any(_allows(text, url) for text in texts)
        ]
        if decided_by and missing and not has_nonce:
            found.append(Gap(directive, decided_by, list(dict.fromkeys(missing))))
    return found


def parse_csp(header: str) -> list[Policy]:
    """The policies of a Content-Security-Policy header, all of which apply."""
    return [
        {
            words[0].lower(): words[1:]
            for part in policy.split(";")
            if (words := part.split())
        }
        for policy in header.split(",")
    ]


def allows_microphone(header: str) -> bool:
    """Whether a Permissions-Policy header lets the site's own pages use the microphone."""
    found = re.search(r"\bmicrophone\s*=\s*(\([^)]*\)|[^,\s]*)", header)
    return found is None or not {"self", "*"}.isdisjoint(found[1].strip("()").split())


def _own() -> str:
    return f"https://{own_host()}"


def _needs(servers: Iterable[str]) -> dict[str, list[str]]:
    """What the widget loads and whom it talks to, by directive."""
    here = conf.is_sandbox_on
    sdk = conf.SDK_URL or _own()
    servers = list(servers) or [
        conf.API_SERVER or (_own() if here else PERSO_SERVERS[0])
    ]
    scripts = [urljoin(_own(), settings.STATIC_URL or ""), urljoin(_own(), sdk)]
    return {"script-src": scripts, "connect-src": [_own(), *servers]}


def _source(url: str) -> str:
    """A URL's origin as a policy names it."""
    parts = urlsplit(url)
    return (
        "'self'" if parts.netloc == own_host() else f"{parts.scheme}://{parts.netloc}"
    )


def _allows(source: str, url: str) -> bool:
    if source == "'self'":
        return urlsplit(url).netloc == own_host()
    if source.endswith(":"):  # a scheme
        return url.startswith(source)
    pattern = source if "://" in source else f"*://{source}"
    return fnmatchcase(url, pattern) or fnmatchcase(url, pattern.rstrip("/") + "/*")
