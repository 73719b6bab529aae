"""A pruned folder becomes a compact one and comes back byte for byte, through the command line."""

import json
from pathlib import Path

import pytest

from flows.cli import main


@pytest.mark.parametrize("encoding", ["bitmask", "csr"])
def test_there_and_back(
    pruned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    capsys.readouterr()
    compact, back = tmp_path / "compact", tmp_path / "back"
    words = ["compact", str(pruned), str(compact), "--encoding", encoding, "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["equal"] and record["encoded"] == 14
    written = sum(path.stat().st_size for path in compact.glob("*.safetensors"))
    dense = sum(path.stat().st_size for path in pruned.glob("*.safetensors"))
    assert (record["compact_bytes"], record["dense_bytes"]) == (written, dense)
    assert main(["evaluate", str(compact), "-q"]) == 2
    assert "is a compact checkpoint" in capsys.readouterr().err
    assert main(["compact", str(compact), str(back), "--encoding", encoding]) == 2
    assert "is one already" in capsys.readouterr().err and not back.exists()
    assert main(["compact", str(compact), str(back)]) == 0
    assert "equal to the bit" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {
        p.name: p.read_bytes() for p in pruned.iterdir()
    }


def test_a_dense_model_is_told_so(
    tiny_folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compact", str(tiny_folder), str(tmp_path / "compact")]) == 0
    assert "was this model pruned?" in capsys.readouterr().out


def test_what_cannot_be_compacted_is_refused(
    tiny_folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    assert main(["compact", "package:x/y.gguf", str(tmp_path / "out")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main(["compact", str(full), str(tmp_path / "out")]) == 2
    assert "no dense safetensors" in capsys.readouterr().err
    assert main(["compact", str(tiny_folder), str(full)]) == 2
    assert "not empty and holds no saved model" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    assert main(["evaluate", str(tmp_path / "nothing"), "-q"]) == 2
