"""`autoprune prune --scheme` on a tiny model: what is saved and what is printed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import autoprune
from autoprune.errors import UsageError
from flows.prune import prune
from flows.prune.params import PruneParams
from flows.reproduce.folder import request_of
from tests.support.command_line import CommandLine


def test_command_and_front_door_save_the_same_smaller_model(
    cli: CommandLine, tmp_path: Path
) -> None:
    out, text_file = tmp_path / "out", cli.places["TEXT"]
    tiny_folder = Path(shutil.copytree(cli.places["MODEL"], tmp_path / "base"))
    (tiny_folder / "README.md").write_text("---\nlicense: mit\n---\n")
    cli.places["MODEL"] = tiny_folder
    line = "prune MODEL --corpus TEXT --scheme depth+width --sparsity 0.6 --seqlen 32 -q"
    shown = cli(f"{line} --calibration-windows 4 --out {out}").out
    record = json.loads((out / "autoprune.json").read_text())
    assert record["steps"][0]["blocks_removed"] in ([0], [1]) and record["steps"][1]
    assert f"{record['parameters']:,} of {record['parameters_before']:,}" in shown
    assert "--suite lm,cost --against" in shown
    card = (out / "README.md").read_text()
    assert (
        "license: mit" in card.split("---")[1]
        and "`depth+width`" in card
        and "4 windows of 32 tokens" in card
    )
    opened = AutoModelForCausalLM.from_pretrained(out)
    assert opened.num_parameters() == record["parameters"] < record["parameters_before"]
    assert opened.config.num_hidden_layers == 1 and "sparsity_config" not in opened.config.to_dict()
    assert (out / "seen_text.npz").is_file()
    # The front door does the same; a text is read only where the scheme reads one.
    asked = {"sparsity": 0.6, "corpus": text_file, "calibration_windows": 4, "seqlen": 32}
    made = autoprune.prune(tiny_folder, scheme="depth+width", **asked, out=tmp_path / "again")
    assert made.share == record["share_removed"] and made.saved is not None
    assert "license: mit" in (tmp_path / "again" / "README.md").read_text()
    for name, value in opened.state_dict().items():
        assert torch.equal(value, made.model.model.state_dict()[name]), name
    # A repair beside the scheme, or in its line.
    cli(f"{line} --calibration-windows 4 --repair ebft:epochs=1 --out {tmp_path / 'tuned'}")
    tuned = json.loads((tmp_path / "tuned" / "autoprune.json").read_text())
    assert tuned["scheme"] == "depth+width+ebft:epochs=1" and tuned["steps"] == record["steps"]
    in_line = autoprune.prune(tiny_folder, scheme=tuned["scheme"], **asked)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    for name, value in opened.state_dict().items():
        assert torch.equal(value, in_line.model.model.state_dict()[name]), name
    plain = "depth:criterion=magnitude,patch=none,protect=none"
    assert autoprune.prune(made.model, scheme=plain, sparsity=0.0, corpus="none").share == 0.0


def test_wrong_requests_are_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither recipe nor pattern"):
        autoprune.prune(tmp_path / "nothing", "wanda", 0.2, scheme="depth")  # type: ignore[call-overload]
    given = {"scheme": "depth", "sparsity": 0.2, "faster": 1.2}
    with pytest.raises(ValidationError, match="sparsity and faster is given"):
        PruneParams.model_validate(given)
    for preset in ({"quality": "fast"}, {"minutes": 1.0}):
        with pytest.raises(ValidationError, match="would change nothing"):
            PruneParams.model_validate({"scheme": "depth", "sparsity": 0.2} | preset)
    with pytest.raises(ValidationError, match="add --scheme"):
        PruneParams.model_validate({"bytes": 0.2})
    with pytest.raises(UsageError, match="below 1"):
        autoprune.prune(tmp_path / "nothing", scheme="depth", sparsity=1.0)
    plain = {"scheme": "depth:criterion=magnitude,patch=none", "sparsity": 0.2}
    for more, options in (({"corpus": "c4"}, "--corpus"), ({"held_out": "c4"}, "--held-out")):
        params = PruneParams.model_validate(plain | more | {"model": str(tmp_path / "nothing")})
        with pytest.raises(UsageError, match=f"reads no text, so that {options} would"):
            prune.fn(params)


@pytest.mark.parametrize(
    ("kind", "asked", "again"),
    [
        # As earlier versions saved what came from a GGUF file.
        (torch.float32, "auto", "float32"),
        (torch.bfloat16, "auto", "auto"),
        (torch.float16, "float16", "float16"),
    ],
)
def test_a_folder_is_reproduced_in_the_type_of_its_files(
    tmp_path: Path, kind: torch.dtype, asked: str, again: str
) -> None:
    save_file({"w": torch.ones(2, 2, dtype=kind)}, tmp_path / "model.safetensors")
    record = {
        "model": "m", "scheme": "depth", "parameters_target": 0.2, "seed": 0, "dtype_asked": asked,
        "checkpoint": {"files": {"model.safetensors": "0"}},
    }  # fmt: skip
    (tmp_path / "autoprune.json").write_text(json.dumps(record))
    assert request_of(tmp_path, None, tmp_path / "new")[1].dtype == again
    earlier = record | {"corpus": "text", "samples": 4, "seqlen": 32}
    (tmp_path / "autoprune.json").write_text(json.dumps(earlier))
    with pytest.raises(UsageError, match="earlier version, which calibrated on the first windows"):
        request_of(tmp_path, None, tmp_path / "new")
