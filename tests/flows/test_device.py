"""The device is a setting like others: in forms, files, records, and kept by a search."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from flows.compare import compare
from flows.compare.params import CompareParams
from flows.demo.flow import second_model
from flows.evaluate import evaluate
from flows.evaluate.params import EvaluateParams
from flows.inspect.params import InspectParams
from flows.nightly import flow as nightly
from flows.nightly.params import NightlyParams
from flows.params import Params, checked
from flows.promote import promote
from flows.promote.params import PromoteParams
from flows.prune import prune
from flows.prune.params import PruneParams
from flows.resume.params import ResumeParams
from flows.search.params import SearchParams
from flows.search.runs import going_on, save_params
from flows.terminal.settings_file import read_search
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.switches import DEVICE_VARIABLE
from tests.support.command_line import CommandLine

ALL: list[type[Params]] = [
    SearchParams, PruneParams, EvaluateParams, CompareParams, InspectParams,
    PromoteParams, ResumeParams,
]  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
def test_every_form_has_a_device_and_records_without_one_stay_as_they_were(
    kind: type[Params],
) -> None:
    assert kind.model_fields["device"].default is None
    assert "cuda:1" in str(kind.model_json_schema()["properties"]["device"]["description"])
    assert "device" not in kind().recorded()
    assert kind.model_validate({"device": "cpu"}).recorded()["device"] == "cpu"


def test_names_of_runs_stay_as_they_were() -> None:
    search_params = SearchParams(), SearchParams(device="cpu")
    assert search_params[0].run_id() == search_params[1].run_id()
    assert search_params[1].command().endswith("--device cpu")
    assert "device" not in search_params[0].command()
    assert "device" not in CompareParams().settings() and "dtype" not in PromoteParams().recorded()
    assert CompareParams(device="cpu").command().endswith("--device cpu")
    assert CompareParams().folder_name() != CompareParams(device="cpu").folder_name()


class BegunError(Exception):
    """The work of a flow would begin."""


# A search and its stages set the device where they open the search: tests/flows/test_stages.py.
@pytest.mark.parametrize(
    ("flow", "given", "work"),
    [
        (prune, (PruneParams(device="cpu"),), "_pruned"),
        (evaluate, (EvaluateParams(device="cpu"),), "_evaluated"),
        (compare, (CompareParams(device="cpu"),), "_compared"),
        (promote, (PromoteParams(device="cpu"),), "_promoted"),
        (second_model, (SearchParams(device="cpu"), "out"), "opened"),
    ],
)
def test_every_flow_computes_on_its_device(
    flow: Any, given: tuple[Any, ...], work: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: object) -> None:
        raise BegunError(os.environ.get(DEVICE_VARIABLE))

    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    monkeypatch.setattr(sys.modules[flow.fn.__module__], work, begun)
    with pytest.raises(BegunError, match=r"^cpu$"):
        flow.fn(*given)
    assert DEVICE_VARIABLE not in os.environ
    assert "params" in flow.parameters.properties


def test_a_settings_file_names_the_device(tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text("model: ./m\ndevice: cpu\n")
    assert checked(SearchParams, read_search(tmp_path / "night.yaml")).device == "cpu"
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        SearchParams(device="gpu").check()


def test_a_night_measures_and_promotes_on_the_device_of_its_search(
    home: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    found = {
        "run": "r", "passed": True, "best": "C1", "report": "", "checkpoint": "./m",
        "registered": {"name": "autoprune.m.s60", "version": "2", "uri": "models:/m"},
        "facts": [], "notes": [], "tracking_uri": "here", "next": "report",
    }  # fmt: skip
    monkeypatch.setattr(nightly, "search", lambda _: found)
    monkeypatch.setattr(nightly, "evaluate", heard.append)
    monkeypatch.setattr(nightly, "aliases_of", lambda *_: {})
    monkeypatch.setattr(nightly, "verdict_line", lambda _: "")

    def promoted(params: PromoteParams) -> dict[str, Any]:
        heard.append(params)
        return {}

    monkeypatch.setattr(nightly, "promote", promoted)
    asked = {"device": "cpu", "text_split": 3, "corpus": str(rows)}
    settings = {"search": asked, "build_on": False}
    nightly.nightly.fn(NightlyParams.model_validate(settings))
    assert [params.device for params in heard] == ["cpu", "cpu"]


def test_a_search_goes_on_with_its_device_and_on_no_other_kind(
    home: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command line sets it for its process, which is that of the tests.
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu")
    state = State.open()
    files = RunFiles.of(state, "mine")
    files.folder.mkdir(parents=True)
    files.log.touch()
    params = SearchParams(model=str(cli.places["MODEL"]), device="cpu")
    save_params(state, "mine", params)
    assert going_on(state, "mine").device == "cpu"
    files.open_facts().add(machine={"device": "cuda:0"})
    for line in (
        "resume mine --device cpu",
        "resume mine --until measure --device=cpu",
        "resume mine",
    ):
        cli.refuses(line, "measured on the device cuda:0", "--run")
    cli.refuses("resume mine --submit --device cpu", "leave out --submit, or --device")
    # A record of an earlier version has no device.
    files.open_facts().add(machine={})
    assert going_on(state, "mine", "cpu").device == "cpu"
    save_params(state, "mine", params.model_copy(update={"device": "cuda:99"}))
    cli.refuses("resume mine --until measure", "the device 'cuda:99' cannot be used here")
