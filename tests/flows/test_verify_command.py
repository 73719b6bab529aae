"""``autoprune verify``: a head is trained, saved and used, and wrong use leaves nothing behind."""

import json
from pathlib import Path

import pytest

from autoprune.verify import draw_chains
from flows.cli import main


def test_train_then_score(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "head", tmp_path / "chains.jsonl"
    chains = draw_chains(6, 1, part="test")
    lines = [{"question": c.question, "steps": c.steps, "right": c.right} for c in chains]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train = ["verify", "train", str(tiny_folder), "--out", str(out), "--chains", "20"]
    assert main([*train, "--epochs", "1", "--seed", "3", "--json", "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["training"]["seed"] == 3 and record["parameters"] < 10_000_000
    assert {path.name for path in out.iterdir()} == {"verifier.json", "uhead.safetensors"}

    score = ["verify", "score", str(tiny_folder), "--verifier", str(out), str(file), "-q"]
    assert main([*score, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(one["scores"]) for one in found["solutions"]] == [len(c.steps) for c in chains]
    assert 0.0 <= found["auroc"] <= 1.0
    assert main(["verify", "-q", *score[1:-1]]) == 0
    assert "AUROC" in capsys.readouterr().out

    assert main(["ls", "verifiers", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["verifiers"]
    assert [one["name"] for one in listed] == ["programmatic", "surprisal", "uhead"]

    # Nothing is replaced, and what is wrong is said before the model is opened.
    assert main([*train, "-q"]) == 2 and "not empty" in capsys.readouterr().err
    wrong = ["verify", "score", "./missing", "--verifier", "uhead2", str(file), "-q"]
    assert main(wrong) == 2 and "did you mean uhead" in capsys.readouterr().err
    few = ["verify", "train", "./missing", "--out", str(tmp_path / "new"), "--chains", "3", "-q"]
    assert main(few) == 2 and "3 chains" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
