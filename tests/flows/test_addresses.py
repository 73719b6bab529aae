"""An address with a login: refused where it would be kept, hidden where it is used."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from prefect import flow

from autoprune.errors import PrerequisiteError
from flows import runners
from flows.cli import main
from flows.params import checked
from flows.platform.api_server import private_api, set_prefect_environment
from flows.search.params import SearchParams
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.small_search import FEW, LINE

SECRET = "very-secret-indeed"
LOGIN = f"me:{SECRET}"


class Vault(LocalFileSystem):
    """A folder that opens to one login only, as an SFTP server's does."""

    protocol = "vault"
    cachable = False
    opened: list[str] = []  # noqa: RUF012 (counts over all instances)

    def __init__(self, username: str = "", password: str = "", **_: Any) -> None:
        if (username, password) != ("me", SECRET):
            raise PermissionError(f"login {username}:{password} is refused")
        self.opened.append(username)
        super().__init__(auto_mkdir=True)

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        login = re.match(r"vault://([^/@]*):([^/@]*)@", path)
        return {"username": login[1], "password": login[2]} if login else {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return re.sub(r"^vault://([^/]*@)?host", "", path)


fsspec.register_implementation("vault", Vault, clobber=True)


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("shared_store", f"s3://{LOGIN}@bucket/folder"),
        ("shared_store", f"s3://{SECRET}@bucket/folder"),
        ("shared_store", f"simplecache::sftp://{LOGIN}@host/folder"),
        ("shared_store", f"sftp://$NAME:{SECRET}@host/folder"),
        ("runner_address", f"tcp://{LOGIN}@scheduler:8786"),
        ("runner_address", f"{LOGIN}@scheduler:8786"),
        ("runner_address", f"ray://{SECRET}@head:10001"),
    ],
)
def test_a_login_is_refused_by_command_and_form_and_not_repeated(
    field: str, address: str, home: Path, cli: CommandLine
) -> None:
    line = f"search --runner dask --{field.replace('_', '-')} {address} -v"
    shown = cli(line, code=2).err
    assert "$STORE_LOGIN" in shown and SECRET not in shown
    assert not (home / "runs").exists()
    pattern = SearchParams.model_json_schema()["properties"][field]["pattern"]
    assert not re.search(pattern, address)


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("shared_store", "/shared/a@b"),
        ("shared_store", "s3://bucket/a@b"),
        ("shared_store", "sftp://${NAME}:$WORD@host/folder"),
        ("runner_address", "tcp://scheduler:8786"),
        ("runner_address", "tcp://$LOGIN@scheduler:8786"),
        ("runner_address", "auto"),
    ],
)
def test_the_name_of_a_variable_stands_for_it(field: str, address: str) -> None:
    pattern = SearchParams.model_json_schema()["properties"][field]["pattern"]
    assert re.search(pattern, address)
    found = checked(SearchParams, {"runner": "dask", field: address})
    assert getattr(found, field) == address


@pytest.mark.slow
def test_no_record_of_a_search_holds_the_login(
    tiny_folder: Path, text_file: Path, migrated: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    home, cli = migrated, CommandLine(capfd, MODEL=tiny_folder, TEXT=text_file)
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "on")
    monkeypatch.setenv("VAULT_LOGIN", LOGIN)
    asked = "--designer random --candidates 1 --slots 1 --seed 5"
    line = f"{LINE} {FEW} {asked} --no-register-winner --json"
    line = f"{line} --shared-store vault://$VAULT_LOGIN@host{tmp_path}/shared".replace(" -q", " -v")
    # One server for both commands, which ends before its files are read.
    set_prefect_environment(State.open(), verbose=True)
    with private_api(State.open()) as server:
        assert server is not None and server.wait()
        assert main(cli.words(f"{line} --run kept")) == 0
        shown = capfd.readouterr()
        monkeypatch.setenv("VAULT_LOGIN", f"you:{SECRET}")
        assert main(cli.words(f"{line} --run refused")) != 0
        second = capfd.readouterr()
    assert json.loads(shown.out)["run"] == "kept"
    assert Vault.opened and list((tmp_path / "shared").rglob("*.safetensors"))
    # The records of Prefect (its parameters, logs, events) and of MLflow, and our own, are files.
    records = [file for file in home.rglob("*") if file.is_file()]
    assert {"prefect.db", "mlflow.db", "search.db", "params.json"} <= {
        file.name for file in records
    }
    assert not [file for file in records if SECRET.encode() in file.read_bytes()]
    assert SECRET not in shown.out + shown.err
    assert b"$VAULT_LOGIN" in (home / "runs/kept/params.json").read_bytes()
    assert "is refused" in second.err and SECRET not in second.out + second.err


class Chatty:
    """A task runner that says and shouts the address it was given."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> "Chatty":
        logging.getLogger("chatty").warning("connecting to %s", self.address)
        raise OSError(f"no answer from {self.address}")

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""


def test_a_cluster_that_gives_no_answer_is_named_without_its_login(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CLUSTER_LOGIN", LOGIN)
    monkeypatch.setitem(runners.RUNNERS, "dask", (__name__, "Chatty"))
    monkeypatch.setattr("prefect.context.FlowRunContext.get", lambda: flow)
    opened = runners.workers("dask", 2, "tcp://$CLUSTER_LOGIN@scheduler:8786", {})
    with pytest.raises(PrerequisiteError, match="dask cluster answers") as failed, opened:
        raise AssertionError("it is not there")
    assert SECRET not in str(failed.value) + caplog.text
    assert "connecting to tcp://***@scheduler:8786" in caplog.text
