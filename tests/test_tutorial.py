"""The tutorial works in a new project."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dev
from tests.support.servers import unused_port
from tests.support.widget import Avatar

pytestmark = pytest.mark.browser

TUTORIAL = dev.ROOT / "docs/tutorial"
FENCE = re.compile(r"^```(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACES = {"html+django": "templates", "js": "static"}


class Project:
    """A new project `mysite` that follows the tutorial."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(dev.ROOT),
            "DJANGO_SUPERUSER_PASSWORD": "secret",
        }
        self.run("-m", "django", "startproject", "mysite", ".")

    def run(self, *arguments: str) -> str:
        """Run Python in the project and return its output."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def follow(self, name: str) -> None:
        """Do what the code blocks of a page of the tutorial say."""
        page = (TUTORIAL / name).read_text("utf-8")
        place = 0
        for block in FENCE.finditer(page):
            language, code = block.groups()
            named = re.findall(r"`([\w/]+\.\w+)`", page[place : block.start()])
            place = block.end()
            if language == "python":
                with (self.directory / named[-1]).open("a") as file:
                    file.write(f"\n{code}")
            elif language in PLACES:
                path = self.directory / PLACES[language] / Path(named[-1]).name
                path.parent.mkdir(exist_ok=True)
                path.write_text(code)

    def serve(self) -> tuple[subprocess.Popen[bytes], str]:
        """Start the development server and return it with its address."""
        port = unused_port()
        server = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "--noreload", str(port)],
            cwd=self.directory,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return server, f"http://127.0.0.1:{port}/"


def open_page(page: Any, url: str) -> None:
    """Open a page of a server that may still be starting."""
    for _ in range(100):
        try:
            page.goto(url)
            return
        except Exception:
            page.wait_for_timeout(200)
    page.goto(url)


def test_tutorial_works_as_printed(tmp_path: Path, page: Any) -> None:
    project = Project(tmp_path)
    project.follow("first-conversation.md")
    project.run("manage.py", "migrate")
    admin = ("--username", "admin", "--email", "admin@example.com")
    project.run("manage.py", "createsuperuser", "--noinput", *admin)
    assert "0 errors" in project.run("manage.py", "perso_doctor")
    project.follow("first-tool.md")
    server, url = project.serve()
    try:
        open_page(page, url)
        avatar = Avatar(page)
        avatar.start()
        avatar.ask("What is your name?", "I am the avatar of your local sandbox.")
        question = "What are the opening hours on Sunday?"
        avatar.ask(question, "get_opening_hours says: day sunday, open closed.")
        avatar.type("Show me the map")
        page.locator("#map[open]").get_by_role("button").click()
        avatar.wait_for(state="live", log="saved")
        avatar.end()
        page.goto(f"{url}admin/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", "secret")
        page.press("#id_password", "Enter")
        page.click("text=Conversations")
        page.locator("#result_list tbody a").first.click()
        transcript = page.locator("#content").inner_text()
    finally:
        server.terminate()
        server.wait(20)
    for text in ("What is your name?", question, '{"day": "sunday", "open": "closed"}'):
        assert text in transcript
