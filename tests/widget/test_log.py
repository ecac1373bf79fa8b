"""What the widget says is saved, through a line that other programs answer on."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import Site, ask

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("status", [200, 403, 404])
def test_page_of_html_in_place_of_an_answer_loses_no_line(
    site: Site,
    avatar: Callable[[], Avatar],
    page: Any,
    console_errors: list[str],
    status: int,
) -> None:
    html = {"status": status, "content_type": "text/html", "body": "<h1>Elsewhere</h1>"}
    talk = avatar()
    talk.start()
    talk.wait_for(log="saved")
    answered: list[str] = []

    def answer(route: Any) -> None:
        answered.append(route.request.post_data)
        route.fulfill(**html)

    page.route("**/log/", answer, times=1)
    ask(talk, "What is 2 times 3?", "6")
    ask(talk, "What is 2 times 4?", "8")
    talk.wait_for(log="saved")
    assert len(answered) == 1
    assert site.chat == talk.messages()
    assert len(site.chat) == 4
    console_errors.clear()
