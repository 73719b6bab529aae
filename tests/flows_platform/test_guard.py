"""What the guard adds to answers."""

from collections.abc import MutableMapping
from typing import Any

import anyio

from flows.platform.guard import Guard, own_origins


def test_pages_may_connect_to_their_own_server_alone() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def page(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<p>"})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    guard = Guard(page, ["localhost"], own_origins(4200))
    scope = {
        "type": "http", "method": "GET", "path": "/v2", "headers": [(b"host", b"localhost:4200")],
    }  # fmt: skip
    anyio.run(guard, scope, receive, send)
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == b"text/html" and sent[1]["body"] == b"<p>"
    rule, *places = headers[b"content-security-policy"].decode().split()
    assert rule == "connect-src" and "'self'" in places
    for name in ("127.0.0.1", "localhost"):
        assert {f"http://{name}:4200", f"ws://{name}:4200"} <= set(places)
    # Browsers ignore an IPv6 address with a warning. The rest is what a page made itself.
    assert len(places) == 7
    assert not any(part in place for part in ("amplitude", "*", "[") for place in places)
