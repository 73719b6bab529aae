"""A scripted OpenAI-compatible server in this process, with the faults that real ones show."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any, dict[str, str]]


class ChatServer:
    """Answers with what a function makes of each request body; keeps the bodies."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.url = ""


def completion(text: str | None, reason: str = "stop", **usage: int) -> Answer:
    message = {"role": "assistant", "content": text}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        "usage": usage or None,
    }
    return 200, body, {}


def obedient(body: dict[str, Any]) -> Answer:
    """What a server that enforces everything says."""
    if body.get("max_tokens") == 1:
        return completion("Re", "length")
    grammar = body.get("grammar") or body.get("structured_outputs", {}).get("grammar")
    if grammar is not None:
        found = re.search(r'"(\w+)"', grammar)
        return completion(found[1] if found else "")
    form = body.get("response_format")
    if form is not None:
        colour = form["json_schema"]["schema"]["properties"]["colour"]["enum"][0]
        return completion(json.dumps({"colour": colour}))
    return completion("Red.")


def length_of(body: dict[str, Any]) -> int:
    """Characters of a request's messages; the canary's questions have fewer than 400."""
    return sum(len(message["content"]) for message in body["messages"])


def formula_for(body: dict[str, Any]) -> Answer:
    """An answer of a designer, another one for prompts of another length."""
    exponent = 0.3 + length_of(body) % 97 / 97
    return completion(f"because: roots\nmetric: abs(W) * x_norm ** {{{exponent:.3f}}}")


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[ChatServer]:
    chat = ChatServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.bodies.append(body)
            self._send(*chat.answer(body))

        def do_GET(self) -> None:
            data = [{"id": "first", "object": "model", "created": 0, "owned_by": "x"}]
            self._send(200, {"object": "list", "data": data}, {})

        def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            # The client may be gone, and a later test would find the error on its screen.
            with suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
