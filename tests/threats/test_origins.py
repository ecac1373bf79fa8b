"""T8: pages of other sites cannot write to the log."""

from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.visitor import HttpVisitor, say

pytestmark = pytest.mark.threat


async def test_only_the_own_origin_may_open_the_log(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    host = f"127.0.0.1:{site.port}"
    foreign = [
        None,
        "null",
        f"https://{host}",
        f"http://127.0.0.1:{site.port + 1}",
        "http://127.0.0.1",
        f"http://sub.{host}",
        f"http://127.0.0.1.evil.example:{site.port}",
        f"http://127.0.0.1.:{site.port}",
        f"HTTP://{host}",
        f"http://user@{host}",
        f"http://{host}/",
        f"http://localhost:{site.port}",
        "http://xn--e1afmkfd.example",
    ]
    async with HttpVisitor(site.url) as visitor:
        await visitor.open_page()
        started = (await visitor.start()).json()
        hello = {"t": "hello", "stream": started["stream"], "ticket": started["ticket"]}
        for origin in foreign:
            with pytest.raises(InvalidStatus) as refused:
                async with visitor.socket(started["log"]["ws"], origin):
                    pass
            assert refused.value.response.status_code in (400, 403), origin
            headers = {"Origin": origin} if origin else {}
            body = {
                "stream": started["stream"],
                "ticket": started["ticket"],
                "items": [],
            }
            assert (
                await visitor.http.post(
                    "/perso/log/entries/", json=body, headers=headers
                )
            ).status_code == 403
        async with visitor.socket(started["log"]["ws"]) as socket:
            assert (await say(socket, **hello))["t"] == "welcome"
    figure(
        "T8",
        f"{len(foreign)} foreign origins refused by socket and POST; "
        "the site's own accepted",
    )
