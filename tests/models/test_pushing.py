"""A model is sent whole to a private repository, with the token; without one nothing is sent."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from autoprune.errors import AutopruneError, PrerequisiteError, UsageError
from autoprune.models.pushing import push_to_hub

CALLS: list[tuple[str, str | None, bytes]] = []


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

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    CALLS.clear()
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: "hf_of_this_test")
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_or_a_file_is_sent(hub: str, tmp_path: Path, whole: bool) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.gguf").write_bytes(b"GGUF of this test")
    what = tmp_path if whole else tmp_path / "model.gguf"
    assert push_to_hub("me/small", what, endpoint=hub).endswith("/commit/" + "1" * 40)
    assert {token for _, token, _ in CALLS} == {"Bearer hf_of_this_test"}
    made = json.loads(CALLS[0][2])
    assert (made["organization"], made["name"], made["visibility"]) == ("me", "small", "private")
    lines = [json.loads(line)["value"] for line in CALLS[-1][2].splitlines()]
    sent = {line["path"]: base64.b64decode(line["content"]) for line in lines if "path" in line}
    expected = {"config.json": b"{}"} if whole else {}
    assert sent == expected | {"model.gguf": b"GGUF of this test"}


def test_nothing_is_sent_without_a_token_or_to_no_hub(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        push_to_hub("not a name", file, endpoint=hub)
    with pytest.raises(AutopruneError, match="was not sent to me/small"):
        push_to_hub("me/small", file, endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: None)
    with pytest.raises(PrerequisiteError, match="no token of the hub"):
        push_to_hub("me/small", file, endpoint=hub)
    assert CALLS == []
