"""What is searched every night: only what somebody asked for; it is remembered and printed."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule

from autoprune.errors import UsageError
from flows.nightly.nights import (
    Night,
    chosen_night,
    local_zone,
    remember_night,
    scheduled,
    with_night,
)
from flows.nightly.params import NightlyParams
from flows.platform.pools import POOL
from flows.search.params import SearchParams
from flows.up import provisioning
from flows.up.provisioning import deployments_text
from tasks.state import State


@pytest.fixture
def settings(tmp_path: Path, tiny_folder: Path) -> Path:
    """A file of a search over independent rows of text."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n{"text": "two"}\n' * 20, encoding="utf-8")
    file = tmp_path / "mine.yaml"
    body = {"model": str(tiny_folder), "corpus": str(rows), "sparsity": 0.5}
    file.write_text(yaml.safe_dump(body), encoding="utf-8")
    return file


def test_nothing_is_scheduled_until_it_is_asked_for(home: Path) -> None:
    assert chosen_night(State.open(), None, None) is None
    known = yaml.safe_load(with_night(deployments_text(POOL), None))
    active = [one["active"] for each in known["deployments"] for one in each.get("schedules", ())]
    assert active == [False]
    with pytest.raises(UsageError, match="nothing is scheduled"):
        chosen_night(State.open(), None, "03:00")


def test_the_users_model_is_searched_from_then_on_until_off(home: Path, settings: Path) -> None:
    state = State.open()
    night = chosen_night(state, str(settings), "23:05")
    assert night is not None and night.search["sparsity"] == 0.5
    remember_night(state, night)
    assert chosen_night(state, None, None) == night
    (deployment,) = [
        each
        for each in yaml.safe_load(with_night(deployments_text(POOL), night))["deployments"]
        if each.get("schedules")
    ]
    (schedule,) = deployment["schedules"]
    assert (schedule["cron"], schedule["active"]) == ("5 23 * * *", True)
    params = NightlyParams.model_validate(deployment["parameters"]["params"])
    assert params.search.model == night.search["model"] and params.search.minutes == 240
    remember_night(state, chosen_night(state, "off", None))
    assert chosen_night(state, None, None) is None


def test_what_cannot_be_searched_is_refused_before_anything_starts(
    home: Path, settings: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="missing"):
        chosen_night(State.open(), str(tmp_path / "missing"), None)
    settings.write_text(settings.read_text() + "sparsety: 0.5\n")
    with pytest.raises(UsageError, match="sparsety"):
        chosen_night(State.open(), str(settings), None)


def test_it_says_what_the_server_has_scheduled_whoever_did_it() -> None:
    class Client:
        def read_deployment_by_name(self, name: str) -> Any:
            assert name == "nightly/nightly-second"
            return SimpleNamespace(
                paused=False,
                schedules=schedules,
                parameters={"params": {"search": {"model": "me"}}},
            )

    when = CronSchedule(cron="0 2 * * *", timezone="Europe/Berlin")
    schedules = [SimpleNamespace(active=True, schedule=when)]
    client: Any = Client()
    shown = scheduled(client, "second")
    assert "searches me at 60% zeros, cron 0 2 * * * (Europe/Berlin)" in shown
    assert "promotes what passes the gate" in shown and "--schedule off" in shown
    schedules = [SimpleNamespace(active=False, schedule=when)]
    assert scheduled(client, "second").startswith("nothing is scheduled")


def test_a_scheduled_search_that_cannot_run_is_named_with_the_way_out() -> None:
    deployment = SimpleNamespace(
        paused=False,
        schedules=[SimpleNamespace(active=True, schedule=CronSchedule(cron="0 2 * * *"))],
        parameters={"params": {"search": {"rung_windows": 9, "selection_windows": 4}}},
    )
    client: Any = SimpleNamespace(read_deployment_by_name=lambda _: deployment)
    shown = scheduled(client, POOL)
    assert "cannot run: " in shown and "rung_windows" in shown
    assert "--schedule MODEL" in shown and "--schedule off" in shown


def test_a_night_holds_todays_names() -> None:
    night = Night({"model": "m", "windows": 8, "solver": "mrp"}, "02:00", "UTC")
    assert night.search == {"model": "m", "selection_windows": 8, "repairs": "mrp"}
    assert night.search.keys() <= SearchParams.model_fields.keys()


@pytest.mark.parametrize(
    ("named", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("EST5EDT", "EST5EDT"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "America/New_York"),
        (":/etc/localtime", "America/New_York"),
        ("", "America/New_York"),
    ],
)
def test_a_night_is_in_the_zone_of_this_machine(
    named: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", named)
    link = Path("/usr/share/zoneinfo/America/New_York")
    monkeypatch.setattr(Path, "resolve", lambda self: link if "localtime" in str(self) else self)
    assert local_zone() == zone


def test_a_night_with_another_time_keeps_its_search(home: Path) -> None:
    remember_night(State.open(), Night({"model": "m"}, "02:00", "UTC"))
    again = chosen_night(State.open(), None, "4:30")
    assert again is not None and (again.search, again.at) == ({"model": "m"}, "4:30")


def deployment(flow: str, name: str) -> Any:
    """A deployment with our tag, whose flow has its name for an id."""
    number = f"{flow}/{name}"
    return SimpleNamespace(
        flow_id=flow, name=name, id=number, tags=["autoprune"], work_pool_name=POOL
    )


def test_a_users_copy_of_a_deployment_stays_and_stands_for_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[Path] = []
    pairs = {
        *provisioning._listed(deployments_text(POOL)),
        ("nightly", "my-llama"),
        ("study", "manual"),
    }
    there = {f"{flow}/{name}": deployment(flow, name) for flow, name in pairs}
    variable = SimpleNamespace(value=None)
    client = SimpleNamespace(
        read_deployments=lambda limit: list(there.values()),
        read_flow=lambda number: SimpleNamespace(name=number),
        delete_deployment=there.pop,
        read_variable_by_name=lambda name: variable,
        update_variable=lambda made: variable.__dict__.update(value=made.value),
    )
    monkeypatch.setattr(provisioning, "client_of", lambda *_: nullcontext(client))
    monkeypatch.setattr(provisioning, "_deploy", lambda _api, file, _: written.append(file))
    # What the UI's Duplicate makes has our tag and pool.
    assert provisioning.delete_gone("api") == ["study/manual"] and "nightly/my-llama" in there
    assert provisioning.deploy_all("api")[:2] == (7, True)
    assert provisioning.deploy_all("api")[:2] == (7, False)
    del there["nightly/nightly"]
    assert provisioning.deploy_all("api")[:2] == (7, True) and len(written) == 2
    there["nightly/nightly"] = deployment("nightly", "nightly")
    # After an upgrade, whose forms have other fields.
    assert provisioning.deploy_all("api")[:2] == (7, False)
    monkeypatch.setattr(provisioning, "_forms", lambda: {"flows/search/params.py": "another"})
    assert provisioning.deploy_all("api")[:2] == (7, True) and len(written) == 3


def test_what_another_machine_scheduled_stays_until_somebody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Server:
        """Keeps a variable and counts what was deployed."""

        def __init__(self) -> None:
            self.kept: Any = None
            self.written: list[Path] = []

        def read_variable_by_name(self, name: str) -> Any:
            return None if self.kept is None else SimpleNamespace(name=name, value=self.kept)

        def create_variable(self, made: Any) -> None:
            self.kept = made.value

        update_variable = create_variable

        def read_deployments(self, limit: int) -> list[Any]:
            listed = provisioning._listed(deployments_text(POOL)) if self.written else set()
            return [deployment(*pair) for pair in listed]

        def read_flow(self, number: Any) -> Any:
            return SimpleNamespace(name=number)

    server = Server()
    monkeypatch.setattr(provisioning, "client_of", lambda *_: nullcontext(server))
    monkeypatch.setattr(provisioning, "_deploy", lambda _api, file, _: server.written.append(file))
    night = Night({"model": "theirs"}, "23:05", "Europe/Berlin")
    _, fresh, deployed = provisioning.deploy_all("api", night=night)
    assert fresh and deployed == night
    # A machine that never heard of it, then one whose folder remembers another one.
    for remembered in (None, Night({"model": "old"}, "02:00", "UTC")):
        _, fresh, deployed = provisioning.deploy_all("api", night=remembered, asked=False)
        assert not fresh and deployed == night
    # Off is off for all of them.
    assert provisioning.deploy_all("api", night=None)[1:] == (True, None)
    assert provisioning.deploy_all("api", night=night, asked=False)[1:] == (False, None)
    # Earlier versions did not keep the night there.
    server.kept = "0123456789abcdef"
    assert provisioning.deploy_all("api", night=night, asked=False)[1:] == (True, night)
    assert len(server.written) == 3
