"""Promotion on a real registry: tiny checkpoints, a SQLite MLflow, the command line."""

import gc
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import AutopruneError, UsageError
from autoprune.masking.quotas import budget_zeros
from autoprune.models.saving import save_model
from autoprune.models.structure import prunable_linears
from flows.cli.parser import parse
from flows.promote import promote
from flows.promote.command import _next
from flows.promote.params import PromoteParams
from flows.terminal import console
from flows.terminal.options import given
from tasks import promotion
from tasks.ledger_file import Ledger, ledger_path
from tasks.publish import Publisher
from tasks.state import State, folder_tag
from tasks.track import Tracker, register_checkpoint
from tasks.track.aliases import aliases_of
from tests.support.command_line import CommandLine
from tests.support.tiny_subject import teach, tiny_subject

NAME = "autoprune.tiny.s50"
TARGET = 0.5
TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module", autouse=True)
def fewer_objects_to_collect() -> None:
    """Collections, one at each look at a checkpoint, skip what earlier tests imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def state(home: Path) -> State:
    (home.parent / "text.txt").write_text(TEXT)
    return State.open()


@pytest.fixture
def tracker(state: State) -> Tracker:
    return Tracker(state)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Pruned checkpoints of one base model; ``good`` has seen the text, ``poor`` has not."""
    root = tmp_path_factory.mktemp("checkpoints")
    yield {kind: _checkpoint(root / kind, kind) for kind in ("poor", "good", "dense")}


def _checkpoint(folder: Path, kind: str) -> Path:
    subject = tiny_subject()
    if kind == "good":
        teach(subject, TEXT[:256], 30)
    linears = prunable_linears(subject.model)
    wanted = 0 if kind == "dense" else budget_zeros(TARGET, sum(one.numel for one in linears))
    left = wanted
    for linear in linears:
        weight = linear.read().clone()
        zeros = min(left, weight.numel() // 2)
        weight.view(-1)[weight.abs().view(-1).argsort()[:zeros]] = 0.0
        linear.write(weight)
        left -= zeros
    assert left == 0
    record: dict[str, Any] = {"target": TARGET, "pattern": "unstructured", "mask_digest": kind}
    if kind == "good":
        # As a search leaves it, with the seed by which it split its text.
        record |= {"run": "night", "seed": 5}
    save_model(subject.model, subject.tokenizer, folder, record)
    return folder


def _register(tracker: Tracker, folder: Path, run: str, *, may_lead: bool = True) -> str:
    parent = tracker.parent("tiny", run, {"model": "tiny"}, {})
    known = {"model": "tiny", "sparsity": TARGET, "masks": run, "tags": {}}
    found = register_checkpoint(tracker, parent, folder, **known, may_lead=may_lead)
    assert found.name == NAME
    return found.version


def _params(state: State, **changes: Any) -> PromoteParams:
    text = str(state.root.parent / "text.txt")
    values = {"corpus": text, "part": "whole", "windows": 6, "seqlen": 64, **changes}
    return PromoteParams.model_validate(values)


def _promote(state: State, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = promote.fn(_params(state, **changes))
    return record


def _asked() -> set[str]:
    """Names of all promotions in the ledger, each with a look of both its models."""
    looks = [line for line in Ledger(ledger_path()).lines if line.get("kind") == "promote"]
    asked = {line["command"] for line in looks}
    roles = ("champion", "challenger")
    assert {line["run"] for line in looks} == {
        f"{name}: {role}" for name in asked for role in roles
    }
    return asked


def _tags(tracker: Tracker, version: str) -> dict[str, str]:
    return dict(tracker.client.get_model_version(NAME, version).tags)


def test_a_better_challenger_is_promoted_and_rolled_back(
    state: State, tracker: Tracker, folders: dict[str, Path]
) -> None:
    poor = _register(tracker, folders["poor"], "first")
    good = _register(tracker, folders["good"], "second")
    assert aliases_of(tracker, NAME) == {"champion": poor, "challenger": good}

    shown = _promote(state, dry_run=True, text_split=1)
    assert shown["passed"] and not shown["moved"] and shown["text_split"] == 1
    assert aliases_of(tracker, NAME) == {"champion": poor, "challenger": good}
    assert "autoprune.decision" not in _tags(tracker, good)

    half = _promote(state, dry_run=True, dtype="bfloat16")
    figures = [found["measured"]["challenger"]["perplexity"] for found in (shown, half)]
    assert half["dtype"] == "bfloat16" and figures[0] != figures[1]

    done = _promote(state)
    assert done["moved"]
    assert [check["ok"] for check in done["checks"]] == [True] * 4
    assert aliases_of(tracker, NAME) == {"champion": good, "previous": poor}
    tags = _tags(tracker, good)
    assert tags["autoprune.decision"] == "promoted"
    assert tags["gate.perplexity"] == tags["gate.reload"] == tags["gate.sparsity"] == "pass"
    assert "95 % interval" in tags["autoprune.reason"]
    assert (done["text_split"], done["part"], done["split_digest"]) == (5, "whole", None)
    assert (tags["gate.text.part"], tags["gate.text.text_split"]) == ("whole", "5")
    assert tags["gate.text.corpus"].endswith("text.txt")

    # The ledger tells this promotion from one of the same name in another state folder.
    begins, ends = f"promotion of {NAME} version {good} against {poor}, ", f", {folder_tag(state)}"
    asked = _asked()
    assert all(name.startswith(begins) and name.endswith(ends) for name in asked)
    # Each was about other figures.
    assert len(asked) == 3

    back = _promote(state, rollback=True)
    assert back["moved"]
    assert aliases_of(tracker, NAME) == {"champion": poor, "previous": good}
    assert _tags(tracker, poor)["autoprune.decision"] == "restored"

    # Asking and settling are one look; the same version against another champion is a new one.
    better = _register(tracker, folders["good"], "third")
    assert [_promote(state, dry_run=dry_run)["moved"] for dry_run in (True, False)] == [False, True]
    assert len(_asked()) == 4
    asked = _asked()
    assert not _promote(state, version=good)["moved"]
    (new,) = _asked() - asked
    assert new.startswith(f"promotion of {NAME} version {good} against {better}, ")


def test_after_a_dry_run_the_advice_promotes_what_was_measured() -> None:
    params = PromoteParams(corpus="my text.txt", version="3", accept_tie=True, dry_run=True)
    record = {"rollback": False, "moved": False, "passed": True, "name": NAME, "challenger": "3"}
    args = parse(shlex.split(_next(record, params))[1:])
    wanted = {"name": NAME, "version": "3", "corpus": "my text.txt", "accept_tie": True}
    assert given(args, PromoteParams) == wanted and args.yes
    # A set that the dry run measured is no longer fresh.
    fresh = params.model_copy(update={"text_split": "fresh", "corpus": "my text.jsonl"})
    again = given(parse(shlex.split(_next(record | {"text_split": 7}, fresh))[1:]), PromoteParams)
    assert again["text_split"] == 7
    folder = PromoteParams(folder="pruned here")
    assert given(parse(shlex.split(_next(record, folder))[1:]), PromoteParams) == {
        "name": NAME, "version": "3",
    }  # fmt: skip


def test_a_worse_challenger_is_refused_with_code_3(
    state: State, tracker: Tracker, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good = _register(tracker, folders["good"], "first")
    poor = _register(tracker, folders["poor"], "second")
    cli = CommandLine(capsys, TEXT=state.root.parent / "text.txt")
    line = "promote --corpus TEXT --part whole --measured-windows 6 --seqlen 64"
    record = cli.record(line, code=3)
    assert not record["passed"] and not record["moved"]
    assert aliases_of(tracker, NAME) == {"champion": good, "challenger": poor}
    assert _tags(tracker, poor)["autoprune.decision"] == "refused"
    assert _tags(tracker, poor)["gate.perplexity"] == "fail"
    assert _tags(tracker, poor)["autoprune.reason"].startswith("perplexity: worse")


def test_what_does_not_pass_leaves_the_champion(
    state: State,
    tracker: Tracker,
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    tables: list[Any] = []
    monkeypatch.setattr(console.LogScreen, "event", lambda _, text: heard.append(text))
    monkeypatch.setattr(Publisher, "figures", lambda _, rows, note: tables.append((rows, note)))
    first = _register(tracker, folders["poor"], "first")
    twin = _register(tracker, folders["poor"], "second")
    refused = _promote(state)
    assert not refused["passed"] and "a tie" in refused["reason"]
    # The page of the run says it as well.
    line = (
        f"the gate refuses version {twin} of {NAME}: {refused['reason']}; version 1 stays champion"
    )
    ((rows, note),) = tables
    assert heard[-1] == note == line
    assert rows[0]["check"] == "perplexity" and rows[0]["gate"] == "FAIL"
    # Missing zeros are counted.
    _register(tracker, folders["dense"], "third")
    checks = {check["name"]: check for check in _promote(state, accept_tie=True)["checks"]}
    assert not checks["sparsity"]["ok"] and "zeros were asked" in checks["sparsity"]["detail"]
    # A damaged file fails the check that opens it.
    good = _register(tracker, folders["good"], "fourth")
    found = promotion.find_contenders(state, None, None)
    weights = found.challenger.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0x01
    # The same file as the folder that it was registered from: damage this name alone.
    weights.unlink()
    weights.write_bytes(bytes(content))
    record = _promote(state)
    assert not record["passed"] and "reload" in record["reason"]
    assert _tags(tracker, good)["gate.reload"] == "fail"
    assert aliases_of(tracker, NAME)["champion"] == first
    # A damaged champion is no measure for a challenger.
    known = promotion.find_contenders(state, None, None)
    weights = known.champion.folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 0x01]))
    with pytest.raises(AutopruneError, match=rf"champion, {NAME} version {first}, cannot be"):
        _promote(state, accept_tie=True, version=twin)
    weights.write_bytes(whole)
    accepted = _promote(state, accept_tie=True, version=twin)
    assert heard[-1] == f"version {twin} of {NAME} is champion now: {accepted['reason']}"
    assert accepted["moved"] and aliases_of(tracker, NAME)["champion"] == twin


def test_what_has_no_sealed_figure_never_leads(
    state: State, tracker: Tracker, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["good"], tmp_path / "unsealed")
    record = json.loads((folder / "autoprune.json").read_text())
    record["unsealed"] = "timeout: no answer after 20 s"
    (folder / "autoprune.json").write_text(json.dumps(record))
    first = _register(tracker, folder, "first", may_lead=False)
    assert aliases_of(tracker, NAME) == {"challenger": first}
    refused = _promote(state)
    assert not refused["passed"] and not refused["moved"]
    assert refused["reason"].startswith("sealed: its search has no sealed figure of it (timeout: ")
    assert _tags(tracker, first)["gate.sealed"] == "fail"
    # Another one leads, and it is refused against that too, though it is better.
    poor = _register(tracker, folders["poor"], "second")
    assert aliases_of(tracker, NAME)["champion"] == poor
    failed = [
        check["name"] for check in _promote(state, version=first)["checks"] if not check["ok"]
    ]
    assert failed == ["sealed"]


def test_a_registry_edited_by_hand_gives_clear_words(
    state: State, tracker: Tracker, folders: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match="run `autoprune search` first"):
        _promote(state)
    first = _register(tracker, folders["poor"], "first")
    with pytest.raises(UsageError, match="no alias 'challenger'"):
        _promote(state)
    with pytest.raises(UsageError, match="no previous champion"):
        _promote(state, rollback=True)
    with pytest.raises(UsageError, match=r"no version '7'.*there are: 1"):
        _promote(state, version="7")
    with pytest.raises(UsageError, match="no registered model 'other'"):
        _promote(state, name="other")
    with pytest.raises(UsageError, match="champion already"):
        _promote(state, version=first)
    second = _register(tracker, folders["good"], "second")
    tracker.client.delete_model_version(NAME, first)
    # MLflow takes the aliases of a deleted version with it.
    assert aliases_of(tracker, NAME) == {"challenger": second}
    record = _promote(state)
    assert record["moved"] and record["champion"] is None
    assert aliases_of(tracker, NAME) == {"champion": second}
    third = _register(tracker, folders["good"], "third")
    shutil.rmtree(promotion.find_contenders(state, NAME, third).challenger.folder)
    with pytest.raises(AutopruneError, match=r"files of .* are gone"):
        _promote(state)
