"""Addresses: which are of this machine, and none that is kept or shown with a login."""

import base64
import errno
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import PrerequisiteError, UsageError
from autoprune.search.spec import DesignerSpec
from flows.platform.api_server import answers
from flows.platform.services import mlflow_is_at, prefect_is_at
from tasks import addresses
from tasks.addresses import is_of_this_machine, request_to
from tasks.design import DesignerSession
from tasks.mirror import require_answer
from tasks.state import State


@pytest.mark.parametrize(
    "address", ["http://localhost:8000/v1", "127.0.0.1:1", "http://[::1]:9/v1", "0.0.0.0", "HOST"]
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_of_this_machine(address.replace("HOST", f"http://{socket.gethostname()}/v1"))


@pytest.mark.parametrize("address", ["http://192.0.2.1/v1", "https://nowhere.invalid/v1"])
def test_addresses_elsewhere(address: str) -> None:
    assert not is_of_this_machine(address)


def test_a_machine_without_a_kind_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", none)
    assert not is_of_this_machine("http://192.0.2.1/v1")
    assert is_of_this_machine("http://[::1]/v1")


@pytest.mark.parametrize(("address", "near"), [("10.254.253.252", True), ("8.8.8.8", False)])
def test_from_a_container_private_addresses_may_be_this_machine(
    address: str, near: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_of_this_machine(f"http://{address}:11434/v1")
    (tmp_path / "env").touch()
    monkeypatch.setattr(addresses, "CONTAINER_FILES", (tmp_path / "env",))
    assert is_of_this_machine(f"http://{address}:11434/v1") is near


@pytest.mark.parametrize(
    ("printed", "kind", "address", "elsewhere"),
    [
        ("on", "openai", "http://127.0.0.1:1/v1", True),
        ("off", "openai", "http://192.0.2.1/v1", False),
        ("on", "local", None, False),
        ("on", "scripted", None, False),
    ],
)
def test_a_variable_says_it_where_addresses_do_not(
    printed: str, kind: Any, address: str | None, elsewhere: bool, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    session = DesignerSession(DesignerSpec(kind=kind, base_url=address), State(home))
    monkeypatch.setenv("AUTOPRUNE_OVERLAP", printed)
    assert session.elsewhere is elsewhere
    monkeypatch.setenv("AUTOPRUNE_OVERLAP", "perhaps")
    with pytest.raises(UsageError, match="AUTOPRUNE_OVERLAP is 'perhaps'"):
        _ = session.elsewhere


@pytest.mark.parametrize(
    ("kind", "address", "elsewhere"),
    [
        ("openai", None, True),
        ("openai", "http://192.0.2.1/v1", True),
        ("auto", "http://192.0.2.1/v1", True),
        ("openai", "http://127.0.0.1:8080/v1", False),
        ("openai", "http://host.docker.internal:8080/v1", False),
        ("local", None, False),
        ("self", None, False),
        ("scripted", None, False),
    ],
)
def test_who_designs_elsewhere(
    kind: Any, address: str | None, elsewhere: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DesignerSpec(kind=kind, base_url=address)
    assert DesignerSession(spec, State(home)).elsewhere is elsewhere
    if address is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        assert DesignerSession(DesignerSpec(kind=kind), State(home)).elsewhere is elsewhere


def test_a_login_in_an_address_is_sent_as_a_header() -> None:
    plain = request_to("http://host:8080/health")
    assert plain.full_url == "http://host:8080/health" and not plain.has_header("Authorization")
    known = request_to("https://me:s%40cret@host/path")
    assert known.full_url == "https://host/path" and known.host == "host"
    held = known.get_header("Authorization")
    assert held is not None and base64.b64decode(held.removeprefix("Basic ")) == b"me:s@cret"


def test_what_answers_otherwise_is_no_server_and_no_login_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def greet() -> None:
            for _ in range(4):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=greet, daemon=True).start()
        address = f"http://me:secret@127.0.0.1:{port}"
        assert not mlflow_is_at(address) and not prefect_is_at(f"{address}/api")
        assert not answers(f"{address}/api")
        with pytest.raises(PrerequisiteError, match=f"answers at http://127.0.0.1:{port}$"):
            require_answer(address, patient=True)
