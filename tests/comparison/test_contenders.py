"""What the gate reads of two versions: their text, their files, and whether they are rivals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.bench.bench import Bench
from autoprune.comparison.contenders import (
    JudgedPart,
    checkpoint_figures,
    judged_text,
    require_rivals,
)
from autoprune.comparison.gate import judge
from autoprune.errors import UsageError
from autoprune.models.loading import load_model
from autoprune.models.record import RECORD_FILE
from autoprune.models.saving import save_model
from autoprune.schemes import build_scheme, shrink
from autoprune.text.corpora import load_corpus
from autoprune.text.seen_text import FILE, SeenText
from autoprune.text.splits import split

BASE = {"model": "./a/last", "model_digest": "a" * 64, "pattern": "unstructured"}
OTHER = {"model_digest": "b" * 64}


def test_what_a_contender_has_seen_is_left_out_of_the_sealed_part(
    tiny_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    # As a search of another seed leaves it: part of what seed 0 seals was calibrated on.
    parts = split(load_corpus(str(text_file)), seed=0)
    champion, challenger = (shutil.copytree(tiny_folder, tmp_path / name) for name in "ab")
    SeenText.of(parts.sealed.documents[:5]).save(champion / FILE)
    models, looks = [str(champion), str(challenger)], list[Any]()
    with Bench.open(challenger) as bench:
        sealed, whole, chosen = (
            judged_text(
                bench,
                part,
                JudgedPart(str(text_file), part, 2, 32, 0, models),
                lambda *it: looks.append(it),
            )
            for part in ("sealed", "whole", "selection")
        )
        held = {name: tuple(windows.shape) for name, windows in bench.windows.items()}
    assert held == dict.fromkeys(("sealed", "whole", "selection"), (2, 32))
    count = len(parts.sealed.documents)
    assert (sealed.overlap["dropped"], sealed.overlap["checked"]) == (5, count)
    assert (whole.overlap["dropped"], whole.overlap["contaminated"]) == (0, 5)
    assert sealed.split == {"part": "sealed", "number": 0, "digest": parts.digest}
    assert whole.split["digest"] is None and chosen.digest == parts.selection.digest
    # A look at the part a search chooses by spends nothing.
    assert [(text, of) for text, of, _ in looks] == [
        (parts.sealed.digest, parts.whole), (parts.whole, parts.whole),
    ]  # fmt: skip
    assert looks[0][2].digest == parts.digest and looks[1][2] is None
    shown = sealed.to_json()
    assert shown["windows"] == 2 and shown["sealed_set"] is shown["sealed_looks"] is None


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        (BASE | {"pattern": "2:4"}, r"patterns of zeros: unstructured \(version 1\) and 2:4 \(v"),
        (BASE | OTHER | {"model": "./b/last"}, r"base models: a+ \(version 1\) and b+ \(version 2"),
        # A scheme has no pattern, and a base that was trained on is the same base.
        (BASE | {"pattern": "2:4", "scheme": "depth"}, ""),
        (BASE | OTHER, ""),
        ({}, ""),
    ],
)
def test_versions_of_another_base_or_pattern_are_no_rivals(
    other: dict[str, Any], refused: str
) -> None:
    if refused:
        with pytest.raises(UsageError, match=rf"{refused}.*--name"):
            require_rivals("autoprune.tiny.s60", {"1": BASE, "2": other})
    else:
        require_rivals("autoprune.tiny.s60", {"1": BASE, "2": other})


def test_written_files_are_counted_against_their_record(tiny_folder: Path, tmp_path: Path) -> None:
    bare = checkpoint_figures(tiny_folder, {})
    assert bare["recorded"] is None and bare["unsealed"] == "" and bare["bytes"] > 0
    counts = {"zeros": 3, "prunable": bare["recount"]["prunable"]}
    asked = {"target": 0.5, "unsealed": "timeout", "checkpoint": counts}
    zeros = checkpoint_figures(tiny_folder, asked)
    assert zeros["recorded"] == counts | {"target": 0.5, "pattern": "unstructured"}
    assert zeros["unsealed"] == "timeout" and zeros["recount"] == bare["recount"]

    loaded, half = load_model(str(tiny_folder)), tmp_path / "half"
    scheme = build_scheme("depth:criterion=random,protect=none,patch=none")
    shrunk = shrink(loaded.model, scheme, 0.5)
    save_model(loaded.model, loaded.tokenizer, half, {"model": "tiny"} | shrunk.to_json())
    record = json.loads((half / RECORD_FILE).read_text())
    for missing in (0, 1):
        # A record may say another number of parameters than the files hold.
        record["checkpoint"]["total"] -= missing
        found = checkpoint_figures(half, record) | {"nll": [1.0, 1.1], "perplexity": 2.8}
        assert found["recorded"]["scheme"] == record["scheme"]
        found["reload"] = {"ok": True, "detail": ""}
        verdict = judge(None, found, accept_tie=False, larger_by=0.02)
        assert verdict.passed is (missing == 0)
    assert verdict.reason.startswith("parameters: the written files hold")
