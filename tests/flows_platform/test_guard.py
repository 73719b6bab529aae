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
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert {f"http://{name}:4200", f"ws://{name}:4200"} <= set(places)
    # The rest of what a page may read without asking anybody.
    assert len(places) == 9 and not any("amplitude" in place or "*" in place for place in places)
