"""A study through the command line: every cell a result or a reason, and nothing measured twice."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from autoprune.text.corpora import CORPORA, load_corpus
from autoprune.text.splits import split
from flows.cli import main
from flows.study_text import study_text

STUDY = """
models:
  - {{ref: {model}, own_data: {text}}}
  - {model}-copy
schemes: [magnitude, wanda, shortgpt]
ratios: [0.5]
suites:
  - "lm:corpora={text},windows=4,seqlen=48"
  - "reasoning:generators=digits,items=2,shots=0,new_tokens=2"
calibration: [generic, aligned, self-generated]
generic: {other}
samples: 2
seqlen: 48
"""


@pytest.fixture
def study(tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path) -> Path:
    import shutil

    copy = tiny_folder.with_name("tiny-copy")
    if not copy.exists():
        shutil.copytree(tiny_folder, copy)
    other = tmp_path / "other.txt"
    other.write_text("\n\n".join(f"other words {i} stand here, {i + 1} of them" for i in range(60)))
    file = tmp_path / "matrix.yaml"
    file.write_text(STUDY.format(model=tiny_folder, text=text_file, other=other))
    return file


def run(capsys: pytest.CaptureFixture[str], file: Path) -> dict[str, Any]:
    assert main(["study", str(file), "--json", "-q"]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_the_matrix_is_full_and_goes_on(
    study: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    first = run(capsys, study)
    # Per model: dense, magnitude (reads no text), wanda and shortgpt for three texts; two suites.
    assert first["cells_total"] == 2 * 2 * (1 + 1 + 3 + 3)
    reasons = {cell["scheme"]: cell["reason"] for cell in first["cells"] if cell["reason"]}
    assert "removes whole blocks" in reasons["shortgpt"]
    lacking = [c for c in first["cells"] if c["scheme"] == "wanda" and c["reason"]]
    assert {(c["policy"], c["model"].endswith("-copy")) for c in lacking} == {("aligned", True)}
    assert "no own_data" in lacking[0]["reason"]
    assert first["results"] == first["cells_total"] - 2 * 2 * 3 - 2
    figures = {
        (c["scheme"], c["policy"]): c["rows"][0]["value"]
        for c in first["cells"]
        if c["suite"] == "lm" and c["status"] == "ok" and not c["model"].endswith("-copy")
    }
    assert len(set(figures.values())) == len(figures) == 5

    folder = Path(first["folder"])
    table = pyarrow.parquet.read_table(folder / "results.parquet").to_pylist()
    assert {row["id"] for row in table} == {cell["id"] for cell in first["cells"]}
    assert {row["status"] for row in table} == {"ok", "unavailable"}
    assert first["mlflow_run"]

    victim = next(folder.joinpath("cells").glob("*.json"))
    victim.unlink()
    second = run(capsys, study)
    # The two models have the same weights, so a cell of theirs is one file.
    assert 0 < second["results"] - second["cached"] <= 2
    assert figures_of(second) == figures_of(first)
    study.write_text(study.read_text().replace("shortgpt]", "shortgpt, ria]"))
    third = run(capsys, study)
    assert third["results"] - third["cached"] == 2 * 3 + 2 * 2 - 0 - _shared(third)
    assert main(["study", str(study), "-q"]) == 0
    shown = capsys.readouterr().out
    assert "the scheme 'shortgpt' is not built" in shown and "seqlen 48" in shown


def test_weights_of_another_type_are_other_cells(
    study: Path, tiny_folder: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = f"""{{models: ["{tiny_folder}"], schemes: [magnitude], ratios: [0.5], samples: 2,
      seqlen: 48, generic: "{text_file}", suites: ["lm:corpora={text_file},windows=2,seqlen=48"],
      dtype: TYPE}}"""
    found = {}
    for dtype in ("float32", "bfloat16"):
        study.write_text(small.replace("TYPE", dtype))
        capsys.readouterr()
        found[dtype] = run(capsys, study)
    assert found["float32"]["results"] == found["bfloat16"]["results"] == 2
    assert found["bfloat16"]["cached"] == 0


def test_what_reads_no_text_is_measured_without_one_and_the_command_lines_seed_counts(
    study: Path, tiny_folder: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = f"""{{models: ["{tiny_folder}"], schemes: [magnitude], ratios: [0.5], seed: 3,
      calibration: [POLICY], generic: "{text_file}", samples: 2, seqlen: 48,
      suites: ["lm:corpora={text_file},windows=2,part=sealed,seqlen=48"]}}"""
    study.write_text(matrix.replace("POLICY", "aligned"))
    without = run(capsys, study)
    assert [cell["reason"] for cell in without["cells"]] == ["", ""]
    # Every cell is a look at the sealed part, noted before it is taken, and its split is named.
    splits = split(load_corpus(str(text_file)))
    drawn = {"part": "sealed", "seed": 0, "digest": splits.digest}
    assert without["splits"] == [{"text": "text.txt/sealed", **drawn}]
    assert without["sealed_touches"] == {splits.sealed.digest: 2}
    shown = study_text(without)
    assert f"seed 0, split {splits.digest[:12]}" in shown and "was measured on 2 times" in shown
    study.write_text(matrix.replace("POLICY", "generic"))
    again = run(capsys, study)
    assert figures_of(again) == figures_of(without)
    assert again["sealed_touches"] == {splits.sealed.digest: 4}
    assert run(capsys, study)["sealed_touches"] == {}
    assert main(["study", str(study), "--seed", "4", "--json", "-q"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["cached"] == 0
    assert json.loads(Path(other["folder"], "study.json").read_text())["params"]["seed"] == 4


def test_what_cannot_be_had_is_said_and_tried_again(
    study: Path, tiny_folder: Path, text_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = load_corpus(str(tmp_path / "other.txt"))
    own = dataclasses.replace(other, name="ptb", test=True)
    monkeypatch.setitem(CORPORA._entries, "ptb", lambda _: own)
    missing = tmp_path / "nowhere"
    study.write_text(f"""{{models: ["{missing}", {{ref: "{tiny_folder}", own_data: ptb}}],
      schemes: [magnitude], ratios: [0.5], calibration: [generic, aligned], samples: 2, seqlen: 48,
      generic: "{tmp_path / "other.txt"}", suites: ["lm:corpora={text_file},windows=2,seqlen=48",
      "lm:corpora=wikitext2,windows=2,seqlen=48"]}}""")
    first = run(capsys, study)
    assert (first["cells_total"], first["results"], first["unavailable"]) == (8, 2, 6)
    reasons = {(cell["model"], cell["settings"]["corpora"][0]): cell["reason"]
               for cell in first["cells"]}  # fmt: skip
    assert all("nowhere" in why for (model, _), why in reasons.items() if model == str(missing))
    assert reasons[str(tiny_folder), str(text_file)] == ""
    assert "unset HF_HUB_OFFLINE" in reasons[str(tiny_folder), "wikitext2"]
    folder = Path(first["folder"])
    table = pyarrow.parquet.read_table(folder / "results.parquet").to_pylist()
    assert {row["id"] for row in table} == {cell["id"] for cell in first["cells"]}
    assert len(list((folder / "cells").iterdir())) == 2
    # The text of one policy is one for figures, which a reader has to know.
    (note,) = json.loads((folder / "study.json").read_text())["notes"]
    assert note.startswith("the corpus 'ptb' is one that papers report figures on")
    assert note[:40] in study_text(first)
    assert first["texts"][str(tiny_folder)]["aligned"]["digest"] == own.digest

    fetched = dataclasses.replace(load_corpus(str(text_file)), name="wikitext2")
    monkeypatch.setitem(CORPORA._entries, "wikitext2", lambda _: fetched)
    second = run(capsys, study)
    assert (second["results"], second["cached"]) == (4, 2)
    # As earlier versions kept a cell that had lacked the network.
    kept = folder / "cells" / f"{second['cells'][-1]['id']}.json"
    record = json.loads(kept.read_text())
    for row in record["rows"]:
        row["status"] = "unavailable"
    kept.write_text(json.dumps(record))
    assert run(capsys, study)["cached"] == 3


def figures_of(record: dict[str, Any]) -> list[Any]:
    return [[row["value"] for row in cell["rows"]] for cell in record["cells"]]


def _shared(record: dict[str, Any]) -> int:
    """Fresh cells of the second model that the first one had filled a moment before."""
    ids = [c["id"] for c in record["cells"] if c["scheme"] == "ria" and c["status"] == "ok"]
    return len(ids) - len(set(ids))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("wanda,", "wnda,"), "did you mean wanda"),
        (("ratios: [0.5]", "ratios: [50]"), "ratio 50.0 is not a share"),
        (("lm:corpora", "ml:corpora"), "unknown suite 'ml'; did you mean lm"),
        (("samples: 2", "sample: 2"), "sample = 2"),
        (("windows=4", "window=4"), "window=4"),
    ],
)
def test_a_wrong_study_is_refused_before_anything_is_measured(
    study: Path, home: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str],
    message: str,
) -> None:  # fmt: skip
    study.write_text(study.read_text().replace(*change))
    assert main(["study", str(study), "-q"]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "studies").exists()


def test_a_study_file_that_is_none(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(tmp_path / "no.yaml")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "list.yaml").write_text("- a\n")
    assert main(["study", str(tmp_path / "list.yaml")]) == 2
    assert "holds no mapping" in capsys.readouterr().err
