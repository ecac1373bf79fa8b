"""The README's quickstart works in a new project with the built wheel."""

import os
import re
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import dev
from tests.support.servers import unused_port
from tests.support.widget import Avatar

pytestmark = pytest.mark.browser

README = (dev.ROOT / "README.md").read_text("utf-8")


def blocks(title: str) -> Iterator[tuple[str, str, str]]:
    """Yield the language, the file named before it, and the code of each code block."""
    section = re.split(
        r"^#+ ", README.split(title, 1)[1], maxsplit=1, flags=re.MULTILINE
    )[0]
    place = 0
    for block in re.finditer(
        r"^ *```(\w+)\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL
    ):
        named = re.findall(r"`(\w+\.py)`", section[place : block.start()])
        place = block.end()
        code = re.sub(r"^ {0,3}(?=\S)", "", block[2], flags=re.MULTILINE)
        yield block[1], named[-1] if named else "", code


class Project:
    """A new project `mysite` with its own environment, which follows the README."""

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.directory = directory
        self.wheel = wheel
        self.python = str(directory / "venv/bin/python")
        self.env = {
            name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ
        }
        self.env["PYTHONWARNINGS"] = "error::DeprecationWarning:django_perso"

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            check=False,
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def create(self) -> None:
        self.run(sys.executable, "-m", "venv", "venv")
        self.install("django-perso[sandbox]")
        self.run(self.python, "-m", "django", "startproject", "mysite", ".")

    def install(self, requirement: str) -> None:
        name, extra = requirement.rstrip("]").split("[")
        assert name == "django-perso"
        wanted = f"{self.wheel}[{extra}]"
        pip = [
            self.python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        self.run(*pip, "--constraint", str(dev.ROOT / "constraints.txt"), wanted)

    def type_in(self, title: str) -> None:
        """Do what the code blocks under `title` say."""
        for language, name, code in blocks(title):
            if language == "django":
                (self.directory / "mysite/templates").mkdir()
                (self.directory / "mysite/templates/home.html").write_text(
                    f"<!doctype html>{code}"
                )
            elif name == "asgi.py":
                self.edit(
                    name, "from django.core.asgi import get_asgi_application\n", code
                )
            elif language == "python":
                self.edit(name, "", code)
            elif "pip install" in code:
                self.install(re.findall(r'"(.+?)"', code)[0])
            elif "migrate" in code:
                self.run(self.python, "manage.py", "migrate")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old` by `new`, or append `new` if `old` is empty."""
        path = self.directory / "mysite" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new) if old else f"{text}\n{new}")

    def add_home_page(self) -> None:
        """Add a view for the template, which a new project does not have."""
        self.edit(
            "settings.py",
            "",
            'TEMPLATES[0]["DIRS"] = [BASE_DIR / "mysite/templates"]\n',
        )
        view = (
            'urlpatterns += [path("", TemplateView.as_view(template_name="home.html"))]'
        )
        self.edit(
            "urls.py", "", f"from django.views.generic import TemplateView\n{view}\n"
        )

    @contextmanager
    def runserver(self) -> Iterator[str]:
        port = unused_port()
        command = [self.python, "manage.py", "runserver", "--noreload", str(port)]
        with (self.directory / "server.log").open("wb") as log:
            server = subprocess.Popen(
                command, cwd=self.directory, env=self.env, stdout=log, stderr=log
            )
        try:
            for _ in range(200):
                time.sleep(0.1)
                try:
                    urllib.request.urlopen(
                        f"http://127.0.0.1:{port}/", timeout=10
                    ).close()
                    break
                except urllib.error.URLError:
                    assert server.poll() is None, (
                        self.directory / "server.log"
                    ).read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.directory / "db.sqlite3")) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    directory = tmp_path_factory.mktemp("quickstart")
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(directory),
    ]
    subprocess.run(build, cwd=dev.ROOT, check=True, capture_output=True)
    project = Project(directory, next(directory.glob("*.whl")))
    project.create()
    project.type_in("## Quickstart")
    project.add_home_page()
    return project


SITE_TESTS = """
from django.contrib.auth import get_user_model
from django.test import TestCase


class HomePageTests(TestCase):
    def test_page_has_the_avatar(self):
        self.assertContains(self.client.get("/"), "<perso-avatar")

    def test_staff_can_start_a_conversation(self):
        staff = get_user_model().objects.create_user("staff", is_staff=True)
        self.client.force_login(staff)
        response = self.client.post(
            "/perso/sessions/", {"preset": ""}, content_type="application/json"
        )
        self.assertEqual(response.status_code, 201)
"""


def test_manage_py_test_passes_after_the_quickstart(project: Project) -> None:
    (project.directory / "mysite/tests.py").write_text(SITE_TESTS)
    project.run(project.python, "manage.py", "test", "mysite")


def talk(page: Any, question: str) -> None:
    """Hold a conversation with one question."""
    avatar = Avatar(page)
    avatar.start()
    avatar.ask(question)
    avatar.end()


def test_plain_runserver_stores_the_transcript_by_post(
    project: Project, page: Any
) -> None:
    with project.runserver() as url:
        page.goto(f"{url}/perso/demo/")
        talk(page, "What is your name?")
    messages = project.rows(
        "SELECT data FROM django_perso_transcriptentry WHERE kind = 'chat'"
    )
    assert any("What is your name?" in data for (data,) in messages)
    assert "WebSocket" not in (project.directory / "server.log").read_text()


def test_asgi_lines_store_the_transcript_by_socket(project: Project, page: Any) -> None:
    project.type_in("### WebSockets (optional)")
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    before = project.rows("SELECT count(*) FROM django_perso_transcriptentry")[0][0]
    with project.runserver() as url:
        page.goto(url)  # the page with the README's template
        talk(page, "And how old are you?")
    assert (
        project.rows("SELECT count(*) FROM django_perso_transcriptentry")[0][0]
        >= before + 4
    )
    assert sockets == [url.replace("http", "ws") + "/perso/log/"]
