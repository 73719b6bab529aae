"""The promotion flow: measure both versions on the same windows, then move the alias."""

import math
from collections.abc import Mapping
from typing import Any

from prefect import flow

from autoprune.comparison.contenders import JudgedPart
from autoprune.digest import digest_json
from autoprune.errors import AutopruneError
from flows.naming import run_name
from flows.params.fields import split_number
from flows.promote.params import PromoteParams
from flows.promote.verdict import verdict_line
from flows.terminal import console
from flows.text_split import forget_split, settled
from tasks.calibrate import load_model
from tasks.checkpoint_integrity import check_champion_files
from tasks.evaluate import evaluate_model
from tasks.promotion import (
    Contenders,
    cut_part,
    find_contenders,
    find_split,
    inspect_checkpoint,
    judge_contenders,
    roll_back,
    settle,
    try_reload,
)
from tasks.publish import Publisher
from tasks.register_folder import register_folder
from tasks.state import State, folder_tag, model_slug
from tasks.switches import computing_on
from tasks.workbench import Workbench, opened

TEXT = "promotion"


def _subject(params: PromoteParams) -> str:
    if params.rollback:
        return f"rollback-{model_slug(params.name)}" if params.name else "rollback"
    return model_slug(params.name or params.folder or "challenger")


NAME = run_name("promote", PromoteParams, _subject)


@flow(name="promote", flow_run_name=NAME, persist_result=False)
def promote(params: PromoteParams = PromoteParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Move the champion if the challenger passes the gate; record the reason either way."""
    with computing_on(params.device):
        return _promoted(params)


def _promoted(params: PromoteParams) -> dict[str, Any]:
    state = State.open()
    if params.rollback:
        done = roll_back(state, params.name, params.dry_run)
        done |= {"passed": True, "rollback": True, "dry_run": params.dry_run}
        console.screen().outcome([verdict_line(done)])
        return done
    if params.folder is not None:
        made = register_folder(state, params.folder, params.name)
        params = params.model_copy(update={"name": made.name, "version": made.version})
    found = find_contenders(state, params.name, params.version, params.dry_run)
    name, champion, challenger = found.name, found.champion, found.challenger
    unsettled = params
    versions = f"{name} {challenger.version} against {champion.version if champion else None}"
    params = settled(params, str(challenger.folder), params.corpus, of=versions)
    # Another split could seal text that the search calibrated on; such text is left out then.
    drawn = params.text_split
    if drawn is None:
        drawn = find_split(challenger.folder) or 0
    number = split_number(drawn)
    asked = _asked(state, found, params, number)
    if found.note:
        console.screen().event(found.note)
    if champion is not None:
        check_champion_files(name, champion.version, champion.folder)
    measured = _measured_by_role(state, found, params, number, asked)
    challenged = measured["challenger"]
    challenged |= inspect_checkpoint(challenger.folder)
    tried = try_reload(state, name, challenger.version, challenger.folder)
    challenged |= {"reload": tried}
    if champion is not None:
        measured["champion"] |= inspect_checkpoint(champion.folder)
    verdict = judge_contenders(
        name, measured.get("champion"), challenged, params.accept_tie, params.larger_by
    )
    before = None if champion is None else champion.version
    record = {
        "name": name,
        "challenger": challenger.version,
        "champion": before,
        "windows": challenged["windows"],
        "seqlen": params.seqlen,
        "dtype": params.dtype,
        "beginning_token": challenged["beginning_token"],
        "corpus": params.corpus,
        "part": params.part,
        "text_split": number,
        "split_digest": challenged["split"]["digest"],
        "overlap": challenged["overlap"],
        "sealed_looks": challenged["sealed_looks"],
        "sealed_set": challenged["sealed_set"],
        **verdict.to_json(),
        "measured": measured,
        "dry_run": params.dry_run,
        "rollback": False,
        "moved": False,
        "note": found.note,
    }
    if not params.dry_run:
        of_record = verdict, text_of(record)
        record["moved"] = settle(state, name, challenger.version, before, *of_record)
    _show(record)
    forget_split(unsettled, of=versions)
    return record


def _asked(state: State, found: Contenders, params: PromoteParams, number: int) -> str:
    """Name of a promotion in the ledger; a dry run and the promotion that follows have one.

    Whatever other figures are asked for is another look. Another state folder, or this one made
    anew, may number a promotion of its own the same.
    """
    figures = params.model_dump(include={"corpus", "part", "measured_windows", "seqlen", "dtype"})
    champion = "no champion" if found.champion is None else found.champion.version
    return (
        f"promotion of {found.name} version {found.challenger.version} against {champion},"
        f" {digest_json(figures | {'text_split': number})[:8]}, {folder_tag(state)}"
    )


def _show(record: Mapping[str, Any]) -> None:
    """Log the verdict and put the gate's table on the run's page."""
    line = verdict_line(record)
    console.screen().outcome([line])
    rows = [
        {
            "check": check["name"],
            "gate": "pass" if check["ok"] else "FAIL",
            "champion": check["champion"],
            "challenger": check["challenger"],
            "detail": check["detail"],
        }
        for check in record["checks"]
    ]
    Publisher(record["name"], None, "promote").figures(rows, line)


def text_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Describe, for the version's tags, the text that a promotion was measured on."""
    kept = {key: record[key] for key in ("corpus", "part", "text_split", "beginning_token")}
    known = record["sealed_set"]
    earlier = None if known is None else known["earlier"]
    looks = {"sealed_looks": record["sealed_looks"], "earlier_looks": earlier}
    return kept | {"split": record["split_digest"]} | looks


def _measured_by_role(
    state: State, found: Contenders, params: PromoteParams, number: int, asked: str
) -> dict[str, dict[str, Any]]:
    """Return the figures of the champion, if there is one, and of the challenger."""
    folders = [str(version.folder) for version in found.by_role.values()]
    wanted = JudgedPart(
        params.corpus, params.part, params.measured_windows, params.seqlen, number, folders
    )
    measured = {}
    for role, version in found.by_role.items():
        console.screen().event(f"measure {role}: {found.name} version {version.version}")
        measured[role] = _measured(state, str(version.folder), params.dtype, wanted, asked, role)
    if len({figures["text"] for figures in measured.values()}) > 1:
        champion, challenger = (version.version for version in found.by_role.values())
        raise AutopruneError(
            f"version {champion} and version {challenger} of {found.name} cut the text into "
            "different tokens, so their perplexities cannot be compared; they are of different "
            "base models; register them under different names"
        )
    return measured


def _measured(
    state: State, folder: str, dtype: str, wanted: JudgedPart, asked: str, role: str
) -> dict[str, Any]:
    """Return one version's loss per window, and free the model afterwards."""
    bench = Workbench(folder, state, report=console.report, dtype=dtype)
    with opened(bench):
        load_model(bench, folder)
        text = cut_part(bench, TEXT, wanted, asked, role)
        if text.fewer_windows:
            console.screen().event(text.fewer_windows)
        if text.sealed_set is not None:
            console.screen().event(text.sealed_set.warning or text.sealed_set.facts)
        figure = evaluate_model(bench, TEXT)
    nll = [value if math.isfinite(value) else None for value in figure.nll]
    return {"nll": nll, "perplexity": figure.perplexity} | text.to_json()
