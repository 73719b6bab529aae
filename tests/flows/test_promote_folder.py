"""A folder that a scheme made: registered, judged by its parameters, rolled back, made again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoprune
from autoprune.errors import UsageError
from autoprune.models.loading import load_model
from autoprune.models.record import RECORD_FILE
from autoprune.models.saving import save_model
from autoprune.schemes import build_scheme, shrink
from autoprune.text.seen_text import FILE, SeenText
from flows.promote import promote
from flows.promote.params import PromoteParams
from tasks.register_folder import register_folder
from tasks.state import State
from tasks.track import Tracker
from tasks.track.aliases import aliases_of
from tests.support.command_line import CommandLine
from tests.support.tiny_subject import teach

SMALL = {"part": "whole", "windows": 6, "seqlen": 64}
HALF = "depth:criterion=random,protect=none,patch=none"


def made(tiny: Path, out: Path, target: float, text: Path | None = None) -> Path:
    """The tiny model made smaller; taught the text where one is given."""
    loaded = load_model(str(tiny))
    shrunk = shrink(loaded.model, build_scheme(HALF), target)
    if text is not None:
        teach(loaded, text.read_text()[:512], 20)
    record = {"model": str(tiny), "seed": 0} | shrunk.to_json()
    save_model(loaded.model, loaded.tokenizer, out, record)
    return out


def test_a_schemes_folder_is_registered_judged_and_rolled_back(
    tiny_folder: Path, text_file: Path, cli: CommandLine, home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    half = made(tiny_folder, tmp_path / "half", 0.5)
    taught = made(tiny_folder, tmp_path / "taught", 0.5, text_file)
    whole = made(tiny_folder, tmp_path / "whole", 0.0, text_file)

    def judged(folder: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        asked = {"corpus": str(text_file), "folder": str(folder), **SMALL, **changes}
        record = promote.fn(PromoteParams.model_validate(asked))
        return record, {check["name"]: check for check in record["checks"]}

    with monkeypatch.context() as inside:
        inside.chdir(half)
        first, checks = judged(Path())
    (kept,) = home.rglob("artifacts/half/model.safetensors")
    assert kept.read_bytes() == (half / "model.safetensors").read_bytes()
    assert not kept.samefile(half / "model.safetensors")
    assert first["moved"] and first["name"] == "autoprune.tiny.p50" and first["champion"] is None
    assert list(checks) == ["perplexity", "parameters", "reload", "size"]
    # Experts compete by their parameters too, whatever their target was a share of.
    record = json.loads((half / RECORD_FILE).read_text())
    experts = record | {"scheme": "experts+recover:steps=1", "parameters_target": 0.75}
    (half / RECORD_FILE).write_text(json.dumps(experts))
    assert register_folder(State.open(), str(half), None).name == "autoprune.tiny.p50"
    (half / RECORD_FILE).write_text(json.dumps(record))
    # The folder is known already, and champion.
    with pytest.raises(UsageError, match="champion already"):
        judged(half)
    better, checks = judged(taught)
    assert better["moved"] and "50.00% of the blocks' removed by depth" in str(checks["parameters"])
    assert checks["parameters"]["champion"] == checks["parameters"]["challenger"]
    # Better, but larger: it is not compared as if it were as small.
    larger, checks = judged(whole, name=first["name"])
    assert not larger["passed"] and not checks["parameters"]["ok"] and not checks["size"]["ok"]
    assert checks["perplexity"]["champion"] != checks["perplexity"]["challenger"]
    tracker = Tracker(State.open())
    number = {"champion": better["challenger"], "previous": first["challenger"]}
    assert number.items() <= aliases_of(tracker, first["name"]).items()
    cli(f"promote --rollback --name {first['name']} -q")
    assert aliases_of(tracker, first["name"])["champion"] == first["challenger"]


def test_what_no_command_of_ours_wrote_is_refused(tiny_folder: Path, home: Path) -> None:
    asked = PromoteParams.model_validate({"folder": str(tiny_folder)} | SMALL)
    with pytest.raises(UsageError, match=r"has no autoprune\.json"):
        promote.fn(asked)
    for wrong in ({"rollback": True}, {"version": "1"}, {"dry_run": True}, {"name": "mine"}):
        with pytest.raises(ValueError, match=r"folder|begin with autoprune\."):
            PromoteParams.model_validate({"folder": "x"} | wrong)


def test_a_schemes_folder_is_made_again_to_the_bit(cli: CommandLine, tmp_path: Path) -> None:
    out, text_file = tmp_path / "made", cli.places["TEXT"]
    tiny_folder = Path(shutil.copytree(cli.places["MODEL"], tmp_path / "base"))
    asked = {"corpus": text_file, "calibration_windows": 4, "seqlen": 32, "seed": 3}
    autoprune.prune(tiny_folder, scheme="depth+recover:steps=2", sparsity=0.5, out=out, **asked)
    line = f"reproduce {out} -q"
    # The record names the file only, not where it lies.
    cli.refuses(line, "--corpus")
    line += " --corpus TEXT"
    shown = cli.record(f"{line} --out {tmp_path / 'again'}")
    assert shown["match"] and shown["found"] == shown["files"]
    kept = (tmp_path / "again" / "model.safetensors").read_bytes()
    assert kept == (out / "model.safetensors").read_bytes()
    # Recovery read windows of its own, and what a model was trained on is no test set.
    seen, again = (SeenText.load(place / FILE) for place in (out, tmp_path / "again"))
    for size, grams in again.grams.items():
        # The command notes both parts apart, so a few that lie across the border differ.
        assert np.isin(grams, seen.grams[size]).mean() > 0.95
    for read in (out, tiny_folder):
        cli.refuses(f"{line} --out {read} --overwrite", f"{read} is the source itself")
    copied = shutil.copy(text_file, tmp_path / "again")
    words = f"reproduce {out} -q --corpus {copied} --out {tmp_path / 'again'} --overwrite"
    cli.refuses(words, f"holds the source {copied}")
    Path(copied).unlink()
    record = json.loads((out / RECORD_FILE).read_text())
    (out / RECORD_FILE).write_text(json.dumps(record | {"scheme": "depth+recover:steps=1"}))
    # What differs replaces nothing.
    before = (tmp_path / "again" / RECORD_FILE).read_text()
    differs = cli.record(f"{line} --out {tmp_path / 'again'} --overwrite", code=1)
    assert not differs["match"] and differs["out"] is None
    assert (tmp_path / "again" / RECORD_FILE).read_text() == before
    for known, shown in (
        ({"run": "night", "candidate": "C7"}, "autoprune reproduce night C7"),
        ({"text_split": 3}, "made alongside a search"),
    ):
        (out / RECORD_FILE).write_text(json.dumps(record | known))
        cli.refuses(line, shown)
    (out / RECORD_FILE).write_text(json.dumps(record | {"model_digest": "0" * 64}))
    cli.refuses(line, "model", code=1)
