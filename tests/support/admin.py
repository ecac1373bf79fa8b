"""The admin in a browser: a site with rows and users, logins, and screenshots."""

import json
from pathlib import Path
from typing import Any

SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOOKS = [(width, scheme) for width in (390, 1280) for scheme in ("dark", "light")]
# Collects what the page's content security policy has blocked.
LISTEN = """
window.reports = [];
document.addEventListener("securitypolicyviolation", (event) => {
  const file = event.sourceFile.split("/").pop();
  window.reports.push(`${event.violatedDirective} ${event.blockedURI} ${file}`);
});
"""
# Unfold's dark mode is a class that a script sets, which some policies block.
DARK = "is_dark => document.documentElement.classList.toggle('dark', is_dark)"


def furnish(site: Any, sandbox: Any) -> None:
    """Create a synced key, a conversation, and a user of each role.

    The session cookies of the users become `site.cookies`.
    """
    script = f"""
from tests.admin_site import roles, rows
roles.write()
rows.write({sandbox.url!r})
"""
    printed = site.manage("shell", "-c", script).splitlines()
    (cookies,) = [line for line in printed if line.startswith("{")]
    site.cookies = json.loads(cookies)
    site.sandbox = sandbox


def be(context: Any, site: Any, role: str) -> None:
    """Log in as the user of a role that furnish() has created."""
    context.add_cookies(
        [{"name": "sessionid", "value": site.cookies[role], "url": site.url}]
    )


def log_in(page: Any, site: Any, path: str = "/admin/") -> None:
    """Log in by the form of the admin, and open a page."""
    page.goto(f"{site.url}/admin/login/?next={path}")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", site.admin_password)
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"**{path}**")


def open_first(page: Any, site: Any) -> None:
    """Log in and open the newest conversation."""
    log_in(page, site, "/admin/django_perso/conversation/")
    page.locator("#result_list tbody th a").first.click()


def look(page: Any, width: int, scheme: str) -> int:
    """Set width and colour scheme; return by how many pixels the page is too wide."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate(DARK, scheme == "dark")
    sideways: int = page.evaluate(SIDEWAYS)
    return sideways


def keep_pictures(
    page: Any, directory: Path, name: str, *, full_page: bool = True
) -> None:
    """Take screenshots at both widths and in both colour schemes.

    The page must never be wider than its window. It ends wide and light.
    """
    for width, scheme in LOOKS:
        assert look(page, width, scheme) == 0, (name, width)
        is_phone = width == 390
        file_name = name
        if is_phone:
            file_name += "-phone"
        if scheme == "dark":
            file_name += "-dark"
        # The admin fades to its other colours.
        page.wait_for_timeout(300)
        page.screenshot(
            path=directory / f"{file_name}.png", full_page=full_page or is_phone
        )
