"""The promotion flow: both versions on the same windows in the same run, then the alias."""

import math
import uuid
from collections.abc import Mapping
from typing import Any

from prefect import flow

from autoprune.errors import AutopruneError
from flows import console
from flows.params import PromoteParams
from tasks.calibrate import load_model
from tasks.evaluate import evaluate_model
from tasks.promotion import (
    cut_part,
    find_contenders,
    find_split,
    inspect_checkpoint,
    judge_contenders,
    roll_back,
    settle,
    try_reload,
)
from tasks.state import State
from tasks.workbench import Workbench, opened

TEXT = "promotion"


@flow(name="promote", persist_result=False)
def promote(params: PromoteParams = PromoteParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Move the champion when the challenger passes the gate; write the reason either way."""
    state = State.open()
    root = str(state.root)
    if params.rollback:
        done = roll_back(root, params.name, params.dry_run)
        return done | {"passed": True, "rollback": True, "dry_run": params.dry_run}
    found = find_contenders(root, params.name, params.version)
    name, champion, challenger = found["name"], found["champion"], found["challenger"]
    # Another seed would seal text that the search has calibrated on.
    made = find_split(challenger["folder"])["seed"] if params.seed is None else params.seed
    seed = made or 0
    contenders = {"champion": champion, "challenger": challenger}
    folders = [version["folder"] for version in contenders.values() if version is not None]
    measured = {}
    for role, version in contenders.items():
        if version is not None:
            console.screen().event(f"measure {role}: {name} version {version['version']}")
            measured[role] = _measured(state, version, params, seed, folders)
    if len({figures["text"] for figures in measured.values()}) > 1:
        raise AutopruneError(
            f"version {champion['version']} and version {challenger['version']} of {name} cut the "
            "text into different tokens, so their perplexities cannot be compared; they are of "
            "different base models; register them under different names"
        )
    asked = measured["challenger"]
    asked |= inspect_checkpoint(challenger["folder"])
    asked |= {"reload": try_reload(root, name, challenger["version"], challenger["folder"])}
    if champion is not None:
        measured["champion"] |= inspect_checkpoint(champion["folder"])
    verdict = judge_contenders(
        name, measured.get("champion"), asked, params.accept_tie, params.larger_by
    )
    before = None if champion is None else champion["version"]
    record = {
        "name": name,
        "challenger": challenger["version"],
        "champion": before,
        "windows": asked["windows"],
        "seqlen": params.seqlen,
        "beginning_token": asked["beginning_token"],
        "corpus": params.corpus,
        "part": params.part,
        "seed": seed,
        "split_digest": asked["split"]["digest"],
        "overlap": asked["overlap"],
        "sealed_looks": asked["sealed_looks"],
        "passed": verdict["passed"],
        "reason": verdict["reason"],
        "checks": verdict["checks"],
        "measured": measured,
        "dry_run": params.dry_run,
        "rollback": False,
        "moved": False,
    }
    if not params.dry_run:
        done = settle(root, name, challenger["version"], before, verdict, text_of(record))
        record |= {"moved": done["moved"]}
    return record


def text_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a promotion was measured on, for the version's tags."""
    kept = {key: record[key] for key in ("corpus", "part", "seed", "beginning_token")}
    return kept | {"split": record["split_digest"], "sealed_looks": record["sealed_looks"]}


def _measured(
    state: State, version: dict[str, Any], params: PromoteParams, seed: int, models: list[str]
) -> dict[str, Any]:
    """Loss per window of one version; the model is gone again afterwards."""
    bench_id = f"promote-{uuid.uuid4().hex[:12]}"
    bench = Workbench(bench_id, version["folder"], state, seed, console.report)
    with opened(bench):
        load_model(bench_id, version["folder"])
        text = cut_part(
            bench_id,
            TEXT,
            params.corpus,
            params.part,
            params.windows,
            params.seqlen,
            seed,
            models,
        )
        if text["fewer_windows"]:
            console.screen().event(text["fewer_windows"])
        figure = evaluate_model(bench_id, TEXT)
    return {
        "nll": [value if math.isfinite(value) else None for value in figure["nll"]],
        "perplexity": figure["perplexity"],
        "windows": text["windows"],
        "text": text["digest"],
        **{key: text[key] for key in ("split", "overlap", "sealed_looks", "beginning_token")},
    }
