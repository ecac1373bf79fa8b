"""`manage.py perso_doctor` on a small project finds mistakes, and its fixes work."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import certifi
import pytest
from django.core.management import call_command

import dev
from tests.support.forks import WarmPython
from tests.support.servers import SandboxServer, unused_port

FERNET = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
KEY = "pak-00c0ffee00c0ffee00c0ffee00c0ffee"
SETTINGS = """
import os

INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "django_perso"]
ASGI_APPLICATION = "mysite.asgi.application"
MIDDLEWARE += ["mysite.middleware.policies"]
TEMPLATES[0]["DIRS"] = [BASE_DIR / "templates"]
POLICIES = {}
MEMBERS_ONLY = ()
PERSO = {"API_KEY": os.environ.get("PERSO_INTERACTIVE_API_KEY", "sandbox")}
"""
MIDDLEWARE = """
from django.conf import settings
from django.http import HttpResponseRedirect

def policies(get_response):
    def respond(request):
        if request.path.startswith(settings.MEMBERS_ONLY):
            return HttpResponseRedirect("/login/")
        response = get_response(request)
        for name, value in settings.POLICIES.items():
            response.headers[name] = value
        return response
    return respond
"""
SEED = """
from django_perso.models import SessionPreset
from django_perso.services import keys
from django_perso.services.connections import SETTINGS_KEY
keys.check(SETTINGS_KEY, keep_lists=True)
SessionPreset.objects.create(
    name="Support",
    slug="support",
    is_default=True,
    model_style="nathalie-front-full_dress-nodded_loop",
    prompt="plp-guide",
    llm_type="azure-gpt-4o",
    tts_type="openai-nova",
)
"""
# Submits the form of a page of the admin, unchanged but for these values.
ENTER = """
from django.contrib.auth.models import User
from django.test import Client
client = Client(SERVER_NAME="localhost")
user, _ = User.objects.get_or_create(username="boss", is_staff=True, is_superuser=True)
client.force_login(user)
form = client.get({page!r}).context_data["adminform"].form
values = {{name: form[name].value() for name in form.fields}} | {values!r}
for name, value in list(values.items()):
    if value is None or value is False:
        del values[name]
answer = client.post({page!r}, values)
assert answer.status_code == 302, answer.context_data["errors"]
"""
ASGI = "mysite/asgi.py"
URLS = "mysite/urls.py"
TYPING_MISTAKES = {
    "mysite/settings.py": "LOG_TRANSPROT",
    "templates/home.html": "suport",
}


class Site:
    """A project `mysite` with mistakes, whose operator follows what the doctor says."""

    def __init__(self, directory: Path, python: WarmPython) -> None:
        self.directory = directory
        self.python = python
        self.env = {
            name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ
        }
        self.env |= {"PYTHONPATH": str(dev.ROOT), "PERSO_ENCRYPTION_KEYS": FERNET}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python.run(arguments, self.directory, self.env)

    def manage(self, *arguments: str) -> str:
        done = self.run("manage.py", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def doctor(self, *arguments: str) -> list[dict[str, str]]:
        """Return the doctor's lines that report a problem."""
        done = self.run("manage.py", "perso_doctor", "--json", *arguments)
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        problems = [line for line in report["lines"] if line["level"] != "ok"]
        assert report["ok"] is not bool(problems)
        assert report["ok"] is (done.returncode == 0)
        return problems

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old` by `new`, or append `new` if `old` is empty."""
        path = self.directory / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new) if old else f"{text}\n{new}\n")

    def set(self, line: str) -> None:
        """Add a line to settings.py."""
        self.edit("mysite/settings.py", "", line)

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.directory / "db.sqlite3")) as database:
            rows = database.execute(statement, values).fetchall()
            database.commit()
        return rows

    def follow(self, fix: str, **values: str) -> None:
        """Do exactly what a fix says.

        `values` is what the fix leaves to the operator.
        """
        for pattern, act in FIXES:
            if match := re.fullmatch(pattern, fix):
                act(self, match, values)
                return
        raise AssertionError(f"FIXES does not say how to follow: {fix}")


Values = dict[str, str]


def add_to_file(site: Site, fix: re.Match[str], values: Values) -> None:
    name = fix[1] if "/" in fix[1] else f"mysite/{fix[1]}"
    imports = "from django.urls import include\n" if "include(" in fix[2] else ""
    site.edit(name, "", imports + fix[2])


def change_line(site: Site, fix: re.Match[str], values: Values) -> None:
    path = site.directory / fix[1]
    lines = path.read_text().splitlines()
    lines[int(fix[2]) - 1] = fix[3]
    path.write_text("\n".join(lines) + "\n")


def correct_spelling(site: Site, fix: re.Match[str], values: Values) -> None:
    for name, wrong in TYPING_MISTAKES.items():
        path = site.directory / name
        if path.exists() and wrong in path.read_text():
            site.edit(name, wrong, fix[1])


def send_header(site: Site, fix: re.Match[str], values: Values) -> None:
    site.set(f"POLICIES[{fix[1]!r}] = {fix[2]!r}")


def run_command(site: Site, fix: re.Match[str], values: Values) -> None:
    site.run(*fix[1].split())


def submit_form(site: Site, fix: re.Match[str], values: Values) -> None:
    site.manage("shell", "-c", ENTER.format(page=fix[1], values=values))


def set_variable(site: Site, fix: re.Match[str], values: Values) -> None:
    site.env[fix[1]] = values["value"]


def add_context_processor(site: Site, fix: re.Match[str], values: Values) -> None:
    site.set(f"TEMPLATES[0]['OPTIONS']['context_processors'] += [{fix[1]}]")


# Patterns of fixes, and the functions that do what they say.
FIXES: list[tuple[str, Callable[[Site, re.Match[str], Values], None]]] = [
    (r"Add to (\S+): (.+)", add_to_file),
    (r"(\S+) line (\d+) -> (.+)", change_line),
    (r"Did you mean ['\"](\w+)['\"]\?.*", correct_spelling),
    (r"([\w-]+-Policy): (.+)", send_header),
    (
        r"Run: python (manage\.py .+?)(?:, and serve the files at STATIC_URL)?",
        run_command,
    ),
    (
        r"Open (/admin/\S+/change/)"
        r"(?: and choose another\.| and choose who may start\.)?",
        submit_form,
    ),
    (r"Set the environment variable (\w+)", set_variable),
    (r"export (\w+)=…", set_variable),
    (
        r"Add to TEMPLATES OPTIONS context_processors: ([^\s,]+).*",
        add_context_processor,
    ),
]


@pytest.fixture(scope="module")
def python() -> Iterator[WarmPython]:
    with WarmPython() as python:
        yield python


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory, python: WarmPython) -> Path:
    """The project with nothing wrong in it."""
    site = Site(tmp_path_factory.mktemp("doctor"), python)
    call_command("startproject", "mysite", site.directory)
    (site.directory / "mysite/middleware.py").write_text(MIDDLEWARE)
    site.set(SETTINGS)
    site.edit(ASGI, "from django.core.asgi import", "from django_perso.asgi import")
    site.follow(
        'Add to mysite/urls.py: urlpatterns += [path("perso/", '
        'include("django_perso.urls"))]'
    )
    site.manage("migrate")
    site.manage("shell", "-c", SEED)
    return site.directory


@pytest.fixture
def site(healthy: Path, tmp_path: Path, python: WarmPython) -> Site:
    shutil.copytree(healthy, tmp_path / "site")
    return Site(tmp_path / "site", python)


def test_healthy_site_is_all_ok(site: Site) -> None:
    done = site.run("manage.py", "perso_doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    areas = [
        "settings",
        "migrations",
        "urls",
        "static",
        "websocket",
        "csp",
        "permissions",
        "encryption",
    ]
    *lines, total = done.stdout.splitlines()
    assert [line[1:12].strip() for line in lines] == [
        *areas,
        "api key",
        "catalogue",
        "presets",
        "upkeep",
    ]
    assert " urls        ok    /perso/ (django_perso.urls)" in lines
    assert " websocket   ok    /perso/log/ by mysite.asgi.application" in lines
    assert total == "12 ok, 0 warnings, 0 errors"


def test_usage_error_has_its_own_exit_code(site: Site) -> None:
    assert site.run("manage.py", "perso_doctor", "--jsn").returncode == 2
    done = site.run("manage.py", "perso_doctor", "--key", "nobody")
    assert (done.returncode, done.stderr) == (
        2,
        'CommandError: No active key "nobody".\n',
    )


def break_urls(site: Site) -> None:
    site.edit(URLS, 'urlpatterns += [path("perso/", include("django_perso.urls"))]', "")


def break_asgi(site: Site) -> None:
    site.edit(ASGI, "django_perso.asgi", "django.core.asgi")


def use_a_router(site: Site) -> None:
    router = """
from channels.routing import ProtocolTypeRouter
from django_perso.asgi import PersoWebSocket
from django.core.asgi import get_asgi_application
django = get_asgi_application()
application = ProtocolTypeRouter({"http": django, "websocket": PersoWebSocket()})
"""
    site.edit(ASGI, "", router)


def lose_the_tables(site: Site) -> None:
    (site.directory / "db.sqlite3").unlink()


def forget_the_sync(site: Site) -> None:
    site.sql("DELETE FROM django_perso_catalogueitem")


def keep_old_lists(site: Site) -> None:
    site.sql(
        "UPDATE django_perso_catalogueitem SET value = 'dall-e' "
        "WHERE value = 'azure-gpt-4o'"
    )
    site.sql("UPDATE django_perso_sessionpreset SET llm_type = 'dall-e'")


def misspell_a_preset(site: Site) -> None:
    (site.directory / "templates").mkdir()
    (site.directory / "templates/home.html").write_text(
        '{% load perso %}{% perso_avatar "suport" %}'
    )


def let_visitors_talk(site: Site) -> None:
    site.sql(
        "UPDATE django_perso_sessionpreset SET voice = 'hold', stt_type = 'default'"
    )


def forbid_the_microphone(site: Site) -> None:
    let_visitors_talk(site)
    site.set(f"POLICIES = {NO_MICROPHONE}")


def forbid_the_microphone_in_settings(site: Site) -> None:
    let_visitors_talk(site)
    site.set("PERMISSIONS_POLICY = {'microphone': []}")


def set_line(*lines: str) -> Callable[[Site], None]:
    return lambda site: site.set("\n".join(lines))


NO_DEBUG = 'DEBUG = False; ALLOWED_HOSTS = ["shop.example"]'
STAGING = 'PERSO["SANDBOX_ALLOW_IN_PRODUCTION"] = True'
STATIC_ROOT = 'STATIC_ROOT = BASE_DIR / "static_root"'
HASHED = """
MANIFEST = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
STORAGES = {"staticfiles": {"BACKEND": MANIFEST}}
"""
CSP = "POLICIES = {'Content-Security-Policy': %r}"
NO_MICROPHONE = {"Permissions-Policy": "microphone=(), usb=()"}
MISTAKES: dict[str, tuple[Callable[[Site], None], str, str]] = {
    "no URLs": (break_urls, "E001", "needs the app's URLs"),
    "no key": (set_line('PERSO["API_KEY"] = ""'), "E002", "No Perso API key"),
    "sandbox in production": (
        set_line(NO_DEBUG),
        "E003",
        "because DEBUG is False",
    ),
    "not migrated": (lose_the_tables, "E035", "Not applied: 0001_initial"),
    "Django's own asgi": (
        break_asgi,
        "W011",
        "mysite.asgi does not serve the socket /perso/log/",
    ),
    "a router": (use_a_router, "W011", "pages cannot detect it"),
    "not collected": (
        set_line(NO_DEBUG, STAGING, STATIC_ROOT),
        "E039",
        "perso-avatar.js is not collected",
    ),
    "not collected, hashed": (
        set_line(NO_DEBUG, STAGING, STATIC_ROOT, HASHED),
        "E039",
        "perso-avatar.js is not collected",
    ),
    "daphne late": (
        set_line(
            "INSTALLED_APPS = [*INSTALLED_APPS[1:7], 'daphne', *INSTALLED_APPS[7:]]"
        ),
        "W012",
        "(it is at position 7)",
    ),
    "no ASGI_APPLICATION": (
        set_line("del ASGI_APPLICATION"),
        "E013",
        "ASGI_APPLICATION is not set",
    ),
    "no host": (set_line("DEBUG = False", STAGING), "W014", "not in ALLOWED_HOSTS"),
    "the header's CSP": (
        set_line(CSP % "default-src 'none'"),
        "W021",
        "connect-src needs 'self'",
    ),
    "the settings' CSP": (
        set_line("SECURE_CSP = {'connect-src': []}"),
        "W021",
        "connect-src needs 'self'",
    ),
    "no microphone": (
        forbid_the_microphone,
        "W022",
        "microphone=(), usb=() does not let pages use the microphone",
    ),
    "no microphone by a setting": (
        forbid_the_microphone_in_settings,
        "W022",
        "PERMISSIONS_POLICY does not let pages use the microphone",
    ),
    "a new Perso": (keep_old_lists, "W032", "llm_type -dall-e"),
    "a misspelt preset": (
        misspell_a_preset,
        "E033",
        "templates/home.html: No active preset 'suport'.",
    ),
    "never synced": (forget_the_sync, "W032", "nothing is synced"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_printed_fix_of_a_mistake_fixes_it(site: Site, mistake: str) -> None:
    make, number, words = MISTAKES[mistake]
    make(site)
    problems = site.doctor()
    reported = [line for line in problems if line["id"] == f"django_perso.{number}"]
    assert reported, problems
    assert any(words in line["text"] for line in reported), reported
    for line in reported:
        site.follow(line["fix"])
    assert f"django_perso.{number}" not in [line["id"] for line in site.doctor()]


@pytest.mark.parametrize(
    "line", [f"POLICIES = {NO_MICROPHONE}", "PERMISSIONS_POLICY = {'microphone': []}"]
)
def test_forbidden_microphone_matters_for_presets_with_voice(
    site: Site, line: str
) -> None:
    site.set(line)
    assert site.doctor() == []
    printed = site.run("manage.py", "perso_doctor").stdout
    assert " permissions ok    pages may not use the microphone\n" in printed
    let_visitors_talk(site)
    site.sql("UPDATE django_perso_sessionpreset SET is_active = 0")
    assert lines_of(site, "permissions") == []
    site.sql("UPDATE django_perso_sessionpreset SET is_active = 1")
    (problem,) = site.doctor()
    assert problem["id"] == "django_perso.W022"
    site.set('SILENCED_SYSTEM_CHECKS = ["django_perso.W022"]')
    assert site.doctor() == []
    site.set("SILENCED_SYSTEM_CHECKS = []")
    # The first start of a site without presets makes one that has voice.
    site.sql("DELETE FROM django_perso_sessionpreset")
    assert [each["id"] for each in lines_of(site, "permissions")] == [problem["id"]]


def test_voice_without_speech_recognition_is_reported(site: Site) -> None:
    site.sql("UPDATE django_perso_sessionpreset SET voice = 'click'")
    (problem,) = site.doctor()
    assert problem["id"] == "django_perso.E031"
    assert '"support": Talking requires speech recognition.' in problem["text"]
    site.follow(problem["fix"], stt_type="default")
    assert site.doctor() == []


def test_missing_urls_are_the_only_problem_reported(site: Site) -> None:
    break_urls(site)
    assert [line["id"] for line in site.doctor()] == ["django_perso.E001"]


def test_middleware_that_answers_in_place_of_the_app_is_reported(site: Site) -> None:
    site.set('MEMBERS_ONLY = ("/perso/",)')
    (line,) = lines_of(site, "urls")
    assert line["id"] == "django_perso.E060"
    assert line["text"].startswith(
        "/perso/csrf-token/ answers 302 from outside the app"
    )
    assert line["fix"].startswith("Exempt /perso/ from the middleware")
    site.set('MEMBERS_ONLY = ("/account/",)')
    assert site.doctor() == []


def test_page_that_fails_is_reported_with_its_error(site: Site) -> None:
    processor = "'django.template.context_processors.request',"
    site.edit("mysite/settings.py", processor, "'mysite.missing.processor',")
    (failing,) = [line for line in site.doctor() if line["area"] == "csp"]
    assert failing["id"] == "django_perso.E036"
    error = "/perso/demo/ answers 500: No module named 'mysite.missing'"
    assert failing["text"].startswith(error)


def test_wrong_settings_are_reported_together(site: Site) -> None:
    wrong = {
        "E004": ("LOG_TRANSPROT", "auto"),
        "E006": ("LOG_TRANSPORT", "pigeon"),
        "E007": ("ENCRYPTION_KEYS", ["secret"]),
        "E008": ("ALLOWED_ORIGINS", ["a.example"]),
        "E009": ("ALLOWED_API_SERVERS", ["a.example"]),
        "E016": ("TRUSTED_PROXY_COUNT", "1"),
        "W023": ("SDK_URL", "https://cdn.example/sdk.js"),
    }
    for name, value in wrong.values():
        site.set(f"PERSO[{name!r}] = {value!r}")
    site.set('CSRF_TRUSTED_ORIGINS = ["https://a.example"]')
    reported = lines_of(site, "settings")
    assert sorted(line["id"] for line in reported) == [
        f"django_perso.{number}" for number in wrong
    ]
    for line in reported:
        site.follow(line["fix"])
    assert site.doctor() == []


def lines_of(site: Site, area: str, *arguments: str) -> list[dict[str, str]]:
    """Return the problems that the doctor reports in an area."""
    return [line for line in site.doctor(*arguments) if line["area"] == area]


def test_deploy_reports_problems_of_production(site: Site) -> None:
    site.set(NO_DEBUG)
    site.set(STAGING)
    site.set("SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')")
    site.set("IN_MEMORY = {'BACKEND': 'channels.layers.InMemoryChannelLayer'}")
    site.set("CHANNEL_LAYERS = {'default': IN_MEMORY}")
    (uncollected,) = site.doctor()
    assert uncollected["id"] == "django_perso.E039"
    site.set(STATIC_ROOT)
    site.follow(uncollected["fix"])
    assert site.doctor() == []
    assert (
        "--websocket-max-message-size 131072"
        in site.run("manage.py", "perso_doctor", "--deploy").stdout
    )
    problems = site.doctor("--deploy")
    numbers = ["W014", "W015", "W024", "W025"]
    assert sorted(line["id"] for line in problems) == [
        f"django_perso.{number}" for number in numbers
    ]
    for line in problems:
        site.follow(line["fix"])
    remaining = [line["id"] for line in site.doctor("--deploy")]
    # What remains to do is to set a real key.
    assert remaining == ["django_perso.E003", "django_perso.E002"]


START = """
from django.test import Client
client = Client(SERVER_NAME="localhost")
answer = client.post("/perso/sessions/", "{}", content_type="application/json")
print(answer.status_code, answer.json()["hint"])
"""


def test_start_without_tables_names_the_command_to_run(site: Site) -> None:
    lose_the_tables(site)
    answered = site.manage("shell", "-c", START)
    assert "503 no such table: django_perso_sessionpreset." in answered
    site.follow("Run: " + answered.partition("Run: ")[2].strip())
    assert site.doctor() == []  # the first start of a new site syncs


TWO_KEYS = """
from django_perso.models import ApiKey
for name in "one", "two":
    ApiKey.objects.create(name=name, secret="pak-of-nobody-" + name, api_server="%s")
"""


VARIABLE_KEY = """
from django_perso.models import ApiKey
name = "PERSO_INTERACTIVE_API_KEY_SHOP"
ApiKey.objects.create(name="Shop", environment_variable=name, api_server="{}")
"""


REDACTED = """
from django.utils import timezone
from django_perso.models import Conversation, TranscriptEntry
def talk(days, *names):
    started = timezone.now() - timezone.timedelta(days=days)
    conversation = Conversation.objects.create(
        visitor="me", created_at=started, ended_at=started
    )
    for number, name in enumerate(names, 1):
        TranscriptEntry.objects.create(
            conversation=conversation, source="browser", seq=number, kind="gap",
            at_ms=0, data={"count": 1, "reason": "redactor", "detail": name},
        )
talk(0, "KeyError", "OSError", "KeyError")
talk(2, "ValueError")
"""
PORTRAIT = '{% perso_avatar height="40rem" %}'


@contextmanager
def static_server(allowed: str) -> Iterator[str]:
    """Serve any file, with this Access-Control-Allow-Origin; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if allowed:
                self.send_header("Access-Control-Allow-Origin", allowed)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/static/"
        server.shutdown()
        thread.join()


def test_swapped_secrets_are_reported(site: Site) -> None:
    site.manage("shell", "-c", TWO_KEYS % f"http://127.0.0.1:{unused_port()}")
    rows = site.sql("SELECT id, secret FROM django_perso_apikey")
    for (pk, _), (_, secret) in zip(rows, reversed(rows), strict=True):
        site.sql("UPDATE django_perso_apikey SET secret = ? WHERE id = ?", secret, pk)
    reported = lines_of(site, "encryption")
    assert len(reported) == 2
    belongs_elsewhere = "contains a secret that belongs to another row"
    assert all(belongs_elsewhere in line["text"] for line in reported)
    assert all("/admin/django_perso/apikey/" in line["fix"] for line in reported)
    for line in reported:
        site.follow(line["fix"], new_secret=KEY)
    assert lines_of(site, "encryption") == []


def test_missing_key_is_reported_once_for_all_secrets(site: Site) -> None:
    site.manage("shell", "-c", TWO_KEYS % f"http://127.0.0.1:{unused_port()}")
    settings = (site.directory / "mysite/settings.py").read_text()
    secret_key = re.findall(r"^SECRET_KEY = (.+)$", settings, re.MULTILINE)[0]
    site.set("SECRET_KEY = 'another'")
    (line,) = lines_of(site, "encryption")
    assert line["id"] == "django_perso.E034"
    assert "which is missing: 2." in line["text"]
    assert "the old SECRET_KEY into SECRET_KEY_FALLBACKS" in line["fix"]
    site.set(f"SECRET_KEY_FALLBACKS = [{secret_key}]")
    assert lines_of(site, "encryption") == []


def test_failing_redactor_is_reported_with_its_exceptions(site: Site) -> None:
    site.manage("shell", "-c", REDACTED)
    assert lines_of(site, "upkeep") == []
    site.set("PERSO['REDACTOR'] = 'json.dumps'")
    (line,) = lines_of(site, "upkeep")
    assert line["id"] == "django_perso.W050"
    assert line["text"].endswith("because the redactor raised: KeyError 2, OSError 1")
    site.set("SILENCED_SYSTEM_CHECKS = ['django_perso.W050']")
    assert lines_of(site, "upkeep") == []


def use_home(site: Site, tag: str, name: str = "home.html") -> None:
    page = site.directory / "templates" / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("{% load perso %}" + tag)


@pytest.mark.parametrize(
    "tag", ['{% perso_avatar "support" %}', "{% perso_avatar %}", PORTRAIT]
)
def test_preset_for_staff_on_a_live_page_is_reported(site: Site, tag: str) -> None:
    use_home(site, tag)
    assert lines_of(site, "presets") == []
    site.set('DEBUG = False; ALLOWED_HOSTS = ["localhost"]')
    site.set(STAGING)
    (line,) = lines_of(site, "presets")
    assert line["id"] == "django_perso.W052"
    assert line["text"] == (
        'templates/home.html: "support" is for staff only; '
        "all other visitors are refused."
    )
    site.follow(line["fix"], access="public")
    assert lines_of(site, "presets") == []


def test_preset_for_staff_in_the_admin_is_fine(site: Site) -> None:
    use_home(site, '{% perso_avatar "support" %}', "admin/index.html")
    use_home(site, "{% perso_avatar slug %}")
    site.set(NO_DEBUG)
    site.set(STAGING)
    assert lines_of(site, "presets") == []


@pytest.mark.parametrize("allowed", ["", "https://other.example", "*", "our own"])
def test_static_files_of_another_origin_need_a_header(site: Site, allowed: str) -> None:
    header = "https://localhost" if allowed == "our own" else allowed
    with static_server(header) as url:
        site.set(f"STATIC_URL = {url!r}")
        lines = lines_of(site, "static")
    if allowed in ("*", "our own"):
        assert lines == []
    else:
        (line,) = lines
        assert line["id"] == "django_perso.E051"
        assert f"{url}django_perso/perso-avatar.js" in line["text"]
        header = "Access-Control-Allow-Origin: https://localhost"
        assert line["fix"].endswith(header)


def test_static_server_that_is_away_is_reported(site: Site) -> None:
    site.set(f"STATIC_URL = 'http://127.0.0.1:{unused_port()}/static/'")
    (line,) = lines_of(site, "static")
    assert line["id"] == "django_perso.E051"
    assert "cannot be loaded" in line["text"]


def test_csp_that_blocks_pictures_of_the_admin_is_reported(site: Site) -> None:
    site.sql(
        "UPDATE django_perso_catalogueitem SET picture = 'https://cdn.example/a.png' "
        "WHERE value = 'nathalie-front-full_dress-nodded_loop'"
    )
    site.set(CSP % "default-src 'self'")
    (line,) = [line for line in lines_of(site, "csp") if "img-src" in line["text"]]
    assert line["id"] == "django_perso.W021"
    assert "https://cdn.example" in line["text"]
    assert "data:" in line["text"]
    site.set(CSP % "default-src 'self'; img-src 'self' data: https:")
    assert lines_of(site, "csp") == []


def test_doctor_says_that_the_sandbox_needs_one_worker(site: Site) -> None:
    done = site.run("manage.py", "perso_doctor")
    assert "the sandbox, which needs a server with one worker" in done.stdout


def test_stale_and_expired_conversations_are_reported(
    site: Site,
) -> None:
    site.set('PERSO["RETENTION_DAYS"] = 30')
    days_ago = "strftime('%Y-%m-%d %H:%M:%S', 'now', '-31 days')"
    site.manage(
        "shell",
        "-c",
        "from django_perso.models import *; "
        "c = Conversation.objects.create(visitor='me'); "
        "PersoSession.objects.create(conversation=c)",
    )
    for table in ("conversation", "persosession"):
        site.sql(
            f"UPDATE django_perso_{table} "
            f"SET last_seen_at = {days_ago}, created_at = {days_ago}"
        )
    stale, expired = lines_of(site, "upkeep")
    assert (stale["id"], expired["id"]) == ("django_perso.W037", "django_perso.W038")
    site.follow(stale["fix"].replace(" every minute", ""))
    site.follow(expired["fix"].replace(" every night", ""))
    assert lines_of(site, "upkeep") == []
    assert site.sql("SELECT count(*) FROM django_perso_conversation") == [(0,)]


def test_sweep_that_does_not_run_is_reported(site: Site) -> None:
    site.manage(
        "shell",
        "-c",
        "from django_perso.models import *; "
        "c = Conversation.objects.create(visitor='me'); "
        "PersoSession.objects.create(conversation=c, session_id='s', status='ended')",
    )
    for column in ("ended_at", "last_seen_at"):
        site.sql(
            f"UPDATE django_perso_persosession SET {column} = "
            "strftime('%Y-%m-%d %H:%M:%S', 'now', '-2 hours')"
        )
    (neglected,) = lines_of(site, "upkeep")
    assert neglected["id"] == "django_perso.W040"
    site.follow(neglected["fix"].replace(" every minute", ""))
    assert lines_of(site, "upkeep") == []


def test_unreachable_server_is_reported(site: Site) -> None:
    server = f"http://127.0.0.1:{unused_port()}"
    site.set(f'PERSO = {{"API_KEY": "{KEY}", "API_SERVER": "{server}"}}')
    (line,) = lines_of(site, "api key")
    assert line["id"] == "django_perso.E030"
    assert f"{server}: Perso cannot be reached" in line["text"]
    forget_the_sync(site)
    assert site.doctor() == [line]  # the missing sync is not reported as well


def test_unused_proxy_of_the_environment_is_reported(site: Site) -> None:
    server = f"http://127.0.0.1:{unused_port()}"
    site.set(f'PERSO = {{"API_KEY": "{KEY}", "API_SERVER": "{server}"}}')
    site.env["https_proxy"] = f"http://127.0.0.1:{unused_port()}"
    site.env["SSL_CERT_FILE"] = certifi.where()
    unreachable, *unused = lines_of(site, "api key")
    assert unreachable["id"] == "django_perso.E030"
    assert [line["id"] for line in unused] == ["django_perso.W054"] * 2
    for line in unused:
        site.follow(line["fix"])
    (unreachable,) = lines_of(site, "api key")
    assert unreachable["id"] == "django_perso.E030"


def test_unused_proxy_is_no_problem_while_perso_answers(
    site: Site, sandbox_server: Callable[..., SandboxServer]
) -> None:
    site.env["HTTPS_PROXY"] = f"http://127.0.0.1:{unused_port()}"
    words = 'HTTPS_PROXY is not used to reach Perso; PERSO["PROXY"] is empty.'
    assert words not in site.manage("perso_doctor")  # the sandbox is not Perso
    server = sandbox_server().url
    site.set(f'PERSO = {{"API_KEY": "sandbox", "API_SERVER": "{server}"}}')
    assert lines_of(site, "api key") == []
    assert words in site.run("manage.py", "perso_doctor").stdout


def test_missing_key_and_empty_variable_are_reported(
    site: Site, sandbox_server: Callable[..., SandboxServer]
) -> None:
    forget_the_sync(site)
    site.set('PERSO["API_KEY"] = ""')
    perso = sandbox_server("--key", KEY)
    site.manage("shell", "-c", VARIABLE_KEY.format(perso.url))
    empty, none = site.doctor()
    assert (empty["id"], empty["fix"]) == (
        "django_perso.E030",
        "export PERSO_INTERACTIVE_API_KEY_SHOP=…",
    )
    assert (none["id"], none["fix"]) == (
        "django_perso.E002",
        'Add to settings.py: PERSO["API_KEY"] = "sandbox"',
    )
    for line in (empty, none):
        site.follow(line["fix"], value=KEY)
    assert [line["id"] for line in site.doctor()] == ["django_perso.W032"] * 2
    site.sql("UPDATE django_perso_apikey SET is_active = 0")
    site.sql(
        "UPDATE django_perso_sessionpreset "
        "SET api_key_id = (SELECT id FROM django_perso_apikey)"
    )
    assert '"support": API key "Shop" is inactive.' in [
        line["text"] for line in site.doctor()
    ]


def test_refused_key_is_fixed_where_it_is_kept(
    site: Site, sandbox_server: Callable[..., SandboxServer]
) -> None:
    perso = sandbox_server("--key", KEY)
    site.manage("shell", "-c", TWO_KEYS % perso.url)
    kept = 'os.environ.get("PERSO_INTERACTIVE_API_KEY", "pak-of-nobody-at-all")'
    site.set(f'PERSO = {{"API_KEY": {kept}, "API_SERVER": "{perso.url}"}}')
    refused = lines_of(site, "api key")
    names = ['"one" (ends -one)', '"two" (ends -two)', 'PERSO["API_KEY"] (ends -all)']
    for line, name in zip(refused, names, strict=True):
        assert line["id"] == "django_perso.E030"
        assert f"Perso refused key {name}: 401" in line["text"]
    assert lines_of(site, "api key", "--key", "two") == refused[1:2]
    for line in refused:
        values = {"value": KEY} if "variable" in line["fix"] else {"new_secret": KEY}
        site.follow(line["fix"], **values)
    assert lines_of(site, "api key") == []


def test_withdrawn_voice_is_reported_for_list_and_preset(
    site: Site, sandbox_server: Callable[..., SandboxServer]
) -> None:
    perso = sandbox_server("--key", KEY)
    site.set(f'PERSO = {{"API_KEY": "{KEY}", "API_SERVER": "{perso.url}"}}')
    site.run("manage.py", "perso_sync")
    perso.withdraw(tts_type=["openai-nova"])
    (drift,) = site.doctor()
    assert (drift["id"], "tts_type -openai-nova" in drift["text"]) == (
        "django_perso.W032",
        True,
    )
    site.follow(drift["fix"])
    (line,) = site.doctor()
    assert line["id"] == "django_perso.E031"
    assert re.search(
        r'"support": Voice: .+ is no longer offered by Perso\.', line["text"]
    )
    site.follow(line["fix"], tts_type="yuri")
    done = site.run("manage.py", "perso_doctor")
    assert done.returncode == 0
    assert f"…{KEY[-4:]} {perso.url}: Perso answered in" in done.stdout
    assert KEY not in done.stdout + done.stderr
