"""A model hub on this machine that takes what is sent, in a process's own thread."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

# Path, login and body of what was sent since the hub was opened.
CALLS: list[tuple[str, str | None, bytes]] = []
# Files that its only repository holds.
FILES: list[str] = []


class Hub(BaseHTTPRequestHandler):
    """The three calls of the hub that a small commit takes."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        CALLS.append((self.path, self.headers.get("Authorization"), body))
        here = f"http://127.0.0.1:{self.server.server_address[1]}/me/small"
        answer: dict[str, object] = {"url": here}
        if "preupload" in self.path:
            files = [{**file, "uploadMode": "regular"} for file in json.loads(body)["files"]]
            answer = {"files": [{**file, "shouldIgnore": False} for file in files]}
        elif "commit" in self.path:
            answer = {"commitUrl": f"{here}/commit/{'1' * 40}", "commitOid": "1" * 40}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        token = self.headers.get("Authorization")
        role = "read" if token == "Bearer hf_that_reads" else "write"
        known = {"name": "me", "auth": {"accessToken": {"role": role}}}
        files = [{"type": "file", "path": path, "size": 1, "oid": "0" * 40} for path in FILES]
        answer = known if "whoami" in self.path else files if "/tree/" in self.path else {}
        data = json.dumps(answer).encode()
        self.send_response(200 if token else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address, with a token of this test on the machine."""
    CALLS.clear()
    FILES.clear()
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: "hf_of_this_test")
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
