"""The operator's desk in a browser: a furnished site, entering its admin, pictures of its pages."""

import json
from pathlib import Path
from typing import Any

SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOOKS = [(width, scheme) for width in (390, 1280) for scheme in ("dark", "light")]
# What a page breaks of its security policy, collected from its first line on.
LISTEN = """document.addEventListener("securitypolicyviolation", (e) => (window.reports ??= []).push(
  `${e.violatedDirective} ${e.blockedURI} ${e.sourceFile.split("/").pop()}`))"""
# Unfold's dark mode is a class, which its own script sets where a site lets that run.
DARK = "is_dark => document.documentElement.classList.toggle('dark', is_dark)"


def furnish(site: Any, sandbox: Any) -> None:
    """Give a site a synced key, a conversation, and a user of each role, whose `cookies` it then has."""
    write = f"from tests.desk import roles, rows; roles.write(); rows.write({sandbox.url!r})"
    printed = site.manage("shell", "-c", write).splitlines()
    site.cookies = json.loads(next(line for line in printed if line.startswith("{")))
    site.sandbox = sandbox


def be(context: Any, site: Any, role: str) -> None:
    """Log a browser in as one of the users of `furnish`."""
    context.add_cookies(
        [{"name": "sessionid", "value": site.cookies[role], "url": site.url}]
    )


def log_in(page: Any, site: Any, path: str = "/admin/") -> None:
    """Enter the admin by its form, and go on to a page."""
    page.goto(f"{site.url}/admin/login/?next={path}")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", site.admin_password)
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"**{path}**")


def open_first(page: Any, site: Any) -> None:
    """Enter the admin and open the conversation on top of the list: the newest."""
    log_in(page, site, "/admin/django_perso/conversation/")
    page.locator("#result_list tbody th a").first.click()


def look(page: Any, width: int, scheme: str) -> int:
    """Look at the page at a width and in a light; gives by how much it is too wide."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate(DARK, scheme == "dark")
    sideways: int = page.evaluate(SIDEWAYS)
    return sideways


def keep_pictures(
    page: Any, directory: Path, name: str, *, full_page: bool = True
) -> None:
    """The page at both widths and in both lights, never wider than its window; it stays wide and light."""
    for width, scheme in LOOKS:
        assert look(page, width, scheme) == 0, (name, width)
        suffix = ("-phone" if width == 390 else "") + (
            "-dark" if scheme == "dark" else ""
        )
        page.wait_for_timeout(300)  # until the admin has faded to its other colours
        page.screenshot(
            path=directory / f"{name}{suffix}.png", full_page=full_page or width == 390
        )
