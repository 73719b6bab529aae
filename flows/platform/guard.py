"""Protects both servers from pages of other sites and from other users' programs.

A server on 127.0.0.1 can be reached by every user of the machine and by every page open in a
browser. So the ``Host`` must be one of our names (else a foreign name that resolves to 127.0.0.1
passes the browser's same-origin rule), an ``Origin`` must be the server's own, and a login is
required if the server behind requires none itself. Pages may ask their own server and no other:
Prefect's load a tracker, which would report what people do to a service of its own.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from tasks.addresses import basic

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Health check that needs no login, as in Prefect.
OPEN_PATHS = ("/health", "/api/health")


def own_origins(port: int) -> list[str]:
    """Return the addresses under which a browser on this machine reaches a server."""
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}" for name in LOOPBACK]


class Guard:
    """ASGI middleware: 403 for a foreign ``Host`` or ``Origin``, 401 without the login.

    Every answer tells the browser that its page may connect to the server itself alone.

    Args:
        app: The server behind.
        hosts: Names under which it may be addressed, without ports.
        origins: Pages that may call it, besides those of the called address itself.
        login: ``name:password`` that every request must send; empty: the server behind checks.
    """

    def __init__(
        self, app: App, hosts: Iterable[str], origins: Iterable[str] = (), login: str = ""
    ) -> None:
        self._app = app
        self._hosts = {name.lower() for name in hosts}
        self._origins = set(origins)
        self._expected = basic(login).encode() if login else b""
        self._policy = b"content-security-policy", _own_connections(self._origins).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status, reason = self._verdict(scope)
        if status == 200:
            await self._app(scope, receive, self._with_policy(send))
        else:
            await refuse(scope, send, status, reason)

    def _with_policy(self, send: Send) -> Send:
        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                # In addition to a policy of the server's own: browsers keep to both.
                headers = [*message.get("headers", ()), self._policy]
                message = {**message, "headers": headers}
            await send(message)

        return answer

    def _verdict(self, scope: Scope) -> tuple[int, str]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if _name(f"//{host}") not in self._hosts:
            return 403, f"the host {host!r} is not a name of this server"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._origins and not _same(origin, host):
            return 403, f"pages of {origin!r} may not use this server"
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in OPEN_PATHS:
            return 200, ""
        given = headers.get(b"authorization", b"")
        if self._expected and not hmac.compare_digest(given, self._expected):
            return 401, "a login is needed; `autoprune up` says where it stands"
        return 200, ""


class Enforced:
    """ASGI middleware for Prefect's API: clients cannot disable the check of a run's parameters.

    Args:
        app: The server behind.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read requests that create a run or change a deployment; refuse them or pass them on."""
        path = str(scope.get("path", ""))
        changes = scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH")
        if not changes or "/deployments" not in path:
            await self._app(scope, receive, send)
            return
        messages: list[MutableMapping[str, Any]] = []
        while True:
            messages.append(await receive())
            if messages[-1]["type"] != "http.request" or not messages[-1].get("more_body"):
                break
        if _switches_off(b"".join(message.get("body", b"") for message in messages)):
            reason = "enforce_parameter_schema must stay on; leave it out, or send true"
            await refuse(scope, send, 403, reason)
            return
        waiting = iter(messages)

        async def again() -> MutableMapping[str, Any]:
            found = next(waiting, None)
            return await receive() if found is None else found

        await self._app(scope, again, send)


async def refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    """Answer with an error in the form that Prefect's and MLflow's clients show."""
    if scope["type"] == "websocket":
        # Closing a connection before it is accepted is answered with 403.
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="AutoPrune", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    words = {"detail": reason, "exception_message": reason, "message": reason}
    await send({"type": "http.response.body", "body": json.dumps(words).encode()})


def _own_connections(origins: Iterable[str]) -> str:
    """Policy by which a page connects to its server, under all of its names, and to no other."""
    # The grammar of policies has no IPv6 addresses; for a page opened at one, 'self' is its server.
    named = [origin for origin in origins if "[" not in origin]
    sockets = [origin.replace("http", "ws", 1) for origin in named]
    # A page may read what it made itself.
    return " ".join(["connect-src 'self' data: blob:", *sorted([*named, *sockets])])


def _switches_off(body: bytes) -> bool:
    try:
        found = json.loads(body or b"null")
    except ValueError:
        # The server behind refuses malformed bodies itself.
        return False
    parts = found if isinstance(found, list) else [found]
    return any(
        isinstance(part, dict) and part.get("enforce_parameter_schema") not in (None, True)
        for part in _with_lists(parts)
    )


def _with_lists(parts: Iterable[Any]) -> Iterable[Any]:
    """Yield the objects, and those in lists inside them, as requests for many runs have."""
    for part in parts:
        yield part
        if isinstance(part, dict):
            for value in part.values():
                if isinstance(value, list):
                    yield from value


def _same(origin: str, host: str) -> bool:
    """Return whether a page's origin is the address that it calls, whatever the scheme."""
    return urlsplit(origin).netloc.lower() == host.lower() if "//" in origin else False


def _name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
