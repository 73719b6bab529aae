"""``autoprune verify``: a head is trained, saved and used, and wrong use leaves nothing behind."""

import json
from pathlib import Path

import pytest

from autoprune.verify import draw_chains
from tests.support.command_line import CommandLine


def test_train_then_score(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, file = tmp_path / "head", tmp_path / "chains.jsonl"
    chains = draw_chains(6, 1, part="test")
    lines = [{"question": c.question, "steps": c.steps, "right": c.right} for c in chains]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    # A shell leaves ~ alone behind =.
    monkeypatch.setenv("HOME", str(tmp_path))
    train = "verify train MODEL --out=~/head --chains 20 -q"
    record = cli(f"{train} --epochs 1 --seed 3 --json").record
    assert record["training"]["seed"] == 3 and record["parameters"] < 10_000_000
    assert {path.name for path in out.iterdir()} == {"verifier.json", "uhead.safetensors"}

    score = f"verify score MODEL --verifier {out} {file} -q"
    found = cli(f"{score} --json").record
    assert [len(one["scores"]) for one in found["solutions"]] == [len(c.steps) for c in chains]
    assert 0.0 <= found["auroc"] <= 1.0
    # Another type of the weights is another reader.
    cli.refuses(f"{score} --dtype bfloat16", "the model that it was trained with")
    surprisal = score.replace(str(out), "surprisal")
    read = [cli(f"{surprisal} --dtype {dtype} --json").record for dtype in ("float32", "bfloat16")]
    assert read[0]["solutions"] != read[1]["solutions"]
    named = score.replace("MODEL", "--model MODEL")
    assert "AUROC" in cli(named).out
    listed = cli("ls verifiers --json").record["verifiers"]
    assert [one["name"] for one in listed] == ["programmatic", "surprisal", "uhead"]

    # Nothing is replaced, and the fault is reported before the model is opened.
    cli.refuses(train, "not empty")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    other = train.replace("~/head", str(tmp_path / "model"))
    assert "--overwrite" not in cli.refuses(other, "holds a saved model").err
    cli.refuses(f"verify score ./missing --verifier uhead2 {file} -q", "did you mean uhead")
    cli.refuses(f"{named} ./second", "the model is given twice")
    cli.refuses(f"verify train --model MODEL ./second --out {tmp_path / 'new'}", "given twice")
    cli.refuses("verify score --model MODEL --verifier surprisal", "the file is missing")
    cli.refuses(f"verify train --out {tmp_path / 'new'}", "the model is missing")
    cli.refuses(f"verify train ./missing --out {tmp_path / 'new'} --chains 3 -q", "3 chains")
    assert not (tmp_path / "new").exists()
