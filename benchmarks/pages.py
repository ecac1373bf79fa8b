"""What people wait for: catalogue, template tag, scripts, transcript, first picture."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from django.contrib.auth import get_user_model
from django.db import connection
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import dev
from django_perso.client import calls
from django_perso.client.parameters import CATALOGUE_LISTS
from django_perso.models import CatalogueItem, Conversation, TranscriptEntry
from django_perso.services import catalogue as lists
from django_perso.services import connections
from django_perso.services.connections import SETTINGS_KEY
from tests.support import scripts as javascript
from tests.support.servers import environment, example_server, sandbox_server, seed

from .figures import Figure

ENTRIES = 10_000
POINTER_MS = 300  # from the avatar's edge to its button, and a press
# Measures the time from the click to the first picture of the video.
STOPWATCH = """(button) => {
  const video = button === "#start"
    ? document.querySelector("video")
    : document.querySelector("perso-avatar").shadowRoot.querySelector("video");
  const press = () => {
    window.pressedAt = performance.now();
  };
  addEventListener("click", press, { capture: true, once: true });
  video.requestVideoFrameCallback(() => {
    window.elapsed = performance.now() - window.pressedAt;
  });
}"""
BARE = """<!doctype html><script src="/perso/sandbox/perso-interactive-sdk.js"></script>
<button id="start">Start</button><video autoplay playsinline></video><script>
document.querySelector("#start").onclick = async () => {
  const server = location.origin + "/perso/sandbox";
  const video = document.querySelector("video");
  const params = {
    capability: ["STF_WEBRTC", "LLM", "TTS"],
    prompt: "plp-guide",
    tts_type: "openai-nova",
    llm_type: "azure-gpt-4o",
    model_style: "nathalie-front-full_dress-nodded_loop",
  };
  const headers = { "PersoLive-APIKey": "sandbox", "Content-Type": "application/json" };
  const body = JSON.stringify(params);
  const url = server + "/api/v1/session/";
  const answer = await fetch(url, { method: "POST", headers, body });
  const { session_id } = await answer.json();
  const session = await PersoInteractive.createSession(
    server, session_id, 1080, 1920, false, []);
  session.setSrc(video);
};</script>"""


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a function takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def catalogue() -> Iterator[Figure]:
    """Measure fetching, keeping and reading the lists of a key.

    Perso takes 100 ms for each list.
    """
    connection = connections.connect(SETTINGS_KEY)
    client = connections.client(connection)
    with tempfile.TemporaryDirectory() as directory:
        perso = sandbox_server(Path(directory) / "perso", ())
        perso.start()
        copy_lists(perso.url, connection.api_server)
        perso.stop()
    runs: dict[str, list[float]] = {
        "one list": [],
        "all": [],
        "all, and kept": [],
        "as kept": [],
    }
    for _ in range(11):
        CatalogueItem.objects.all().delete()
        runs["one list"].append(seconds(client.get_llms))
        runs["all"].append(seconds(client.get_all_settings))
        runs["all, and kept"].append(
            seconds(lambda: lists.keep(SETTINGS_KEY, client.get_all_settings()))
        )
        runs["as kept"].append(seconds(lambda: lists.offer(SETTINGS_KEY)))
    one, _, cold, warm = (median(times[1:]) for times in runs.values())
    for name, times in runs.items():
        yield Figure(f"catalogue: {name}", 1000 * median(times[1:]), "ms")
    yield Figure(
        "catalogue: nine lists, cold, over one",
        cold / one,
        "x",
        1.5,
        1.15,
        {"runs": runs},
    )
    yield Figure(
        "catalogue: nine lists, warm over cold", warm / cold, "x", 1 / 50, 1 / 200
    )


def copy_lists(sandbox: str, api_server: str) -> None:
    """PUT the lists of the sandbox to a server that answers with less CPU."""
    for catalogue_list in CATALOGUE_LISTS:
        call = calls.get_list(catalogue_list)
        target = str(httpx.URL(call.path, params=call.query or None))
        answer = httpx.get(
            sandbox + target, headers={"PersoLive-APIKey": "sandbox"}
        ).raise_for_status()
        httpx.put(api_server + target, content=answer.content).raise_for_status()


def tag() -> Iterator[Figure]:
    """Measure a page with the tag."""
    page = Template('{% load perso %}{% perso_avatar "guide" %}')
    request = RequestFactory().get("/")
    with CaptureQueriesContext(connection) as queries:
        page.render(Context({"request": request}))
    yield Figure("queries of a page with the tag", len(queries), "", 0, 0)
    times = [
        seconds(lambda: page.render(Context({"request": request}))) for _ in range(2000)
    ]
    yield Figure("the tag", 1e6 * median(times), "us")


def scripts() -> Iterator[Figure]:
    """Measure the scripts that a visitor's browser loads."""
    sizes = javascript.sizes()
    before_start = sum(sizes[name] for name in javascript.BEFORE_START)
    yield Figure(
        "JavaScript before Start, gzip", before_start, "kB", 10, raw={"sizes": sizes}
    )
    typed = sum(sizes[name] for name in javascript.TYPED_CONVERSATION)
    yield Figure("JavaScript of a conversation by keyboard, gzip", typed, "kB", 30)
    yield Figure("JavaScript with voice, gzip", sum(sizes.values()), "kB")


def transcript() -> Iterator[Figure]:
    """Measure the first page of a long conversation in the admin."""
    session = Conversation.objects.create(visitor="visitor", last_seq=ENTRIES)
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation=session,
            source="browser",
            seq=n,
            kind="chat",
            at_ms=n,
            data={
                "role": ("visitor", "avatar")[n % 2],
                "text": f"Sentence {n} of a long conversation.",
            },
        )
        for n in range(1, ENTRIES + 1)
    )
    reader = Client(SERVER_NAME="127.0.0.1")
    users = get_user_model()._default_manager
    reader.force_login(
        users.create(username="reader", is_staff=True, is_superuser=True)
    )
    url = reverse("admin:django_perso_conversation_change", args=[session.pk])
    assert b"Sentence 100 " in reader.get(url).content
    times = [seconds(lambda: reader.get(url)) for _ in range(5)]
    yield Figure(
        "a conversation of 10,000 entries opens",
        median(times),
        "s",
        1,
        0.5,
        {"runs": times},
    )


def first_frame() -> Iterator[Figure]:
    """Measure the time from Start to the first picture, with an empty browser cache."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("PERSO_CHROMIUM") or dev.find_chromium()
    runs: dict[str, list[float]] = {}
    pages = {
        "ours": ("/perso/demo/", "perso-avatar [part=start]"),
        "a bare page": ("/bare/", "#start"),
    }
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        template = Path(directory) / "db.sqlite3"
        seed(environment(DATABASE_URL=f"sqlite:///{template}"))
        site = example_server(Path(directory) / "site", template, {})
        site.start()
        site.lift_limits()
        browser = playwright.chromium.launch(
            executable_path=chromium, args=dev.chromium_flags()
        )
        try:
            for _ in range(6):
                for (name, page), (suffix, pause) in product(
                    pages.items(), (("", POINTER_MS), (", at once", 0))
                ):
                    elapsed = milliseconds_to_picture(browser, site.url, *page, pause)
                    runs.setdefault(name + suffix, []).append(elapsed)
        finally:
            browser.close()
            site.stop()
    medians = {name: median(times[1:]) for name, times in runs.items()}
    for name, ms in medians.items():
        yield Figure(f"Start to the first frame, {name}", ms, "ms")
    extra_at_once = medians["ours, at once"] - medians["a bare page, at once"]
    yield Figure(
        "Start to the first frame, beyond a bare page, pressed at once",
        extra_at_once,
        "ms",
    )
    extra = medians["ours"] - medians["a bare page"]
    yield Figure(
        "Start to the first frame, beyond a bare page",
        extra,
        "ms",
        200,
        100,
        {"runs": runs},
    )


def milliseconds_to_picture(
    browser: Any, url: str, path: str, button: str, pause_ms: int
) -> float:
    """Open a page, press Start, and return the time until the first picture.

    The pointer is over the avatar `pause_ms` before the click.
    """
    context = browser.new_context()
    page = context.new_page()
    page.route(
        url + "/bare/", lambda route: route.fulfill(body=BARE, content_type="text/html")
    )
    page.goto(url + path)
    page.evaluate(STOPWATCH, button)
    if pause_ms:
        page.locator(button).hover()
        page.wait_for_timeout(pause_ms)
    page.locator(button).click()
    page.wait_for_function("window.elapsed")
    elapsed: float = page.evaluate("window.elapsed")
    context.close()
    return elapsed
