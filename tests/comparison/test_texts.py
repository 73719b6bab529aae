"""The axis of calibration texts: what suites leave out, and texts that are short or missing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from autoprune.text.corpora import load_corpus
from autoprune.text.seen_text import FILE, SeenText, seen_in, united
from autoprune.text.splits import split
from tests.support.bench_comparison import Comparisons
from tests.support.tiny_texts import sharing_sealed


@pytest.fixture
def other(text_file: Path, tmp_path: Path) -> Path:
    return sharing_sealed(text_file, tmp_path)


def test_suites_leave_out_what_any_of_the_texts_holds_for_all_cells_alike(
    compared: Comparisons, text_file: Path, other: Path
) -> None:
    # The third text is measured on by a suite, and calibrates one of two methods.
    suite = f"lm:corpora={other},part=sealed,windows=4,seqlen=32"
    small = {"suite": suite, "draws": 1, "seqlen": 128, "calibration_windows": 8}
    texts = {"one": str(text_file), "two": str(other)}
    second = {"two": str(other)}
    free = compared("wanda", **small)
    kept = compared("wanda", texts=texts, **small)

    def values(result: dict[str, Any]) -> list[float]:
        return [row["measures"][0]["value"] for row in result["rows"]]

    assert values(kept)[0] != values(free)[0]
    again = compared("wanda", texts=texts, **small)
    assert again["measured"] == 0 and values(again) == values(kept)
    # The distance leaves nothing out, so one more draw is one more cell.
    near = small | {"suite": "lm"}
    assert compared("wanda", texts=second, **near)["failed"] == 0
    more = compared("wanda", texts=second, **(near | {"draws": 2}))
    assert (more["measured"], more["failed"]) == (1, 0)


def test_a_suite_on_another_text_leaves_out_what_may_calibrate(
    compared: Comparisons, text_file: Path, other: Path
) -> None:
    calibration = split(load_corpus(str(text_file))).calibration.text
    copied = other.with_name("copied.jsonl")
    copied.write_text(other.read_text() + "\n" + json.dumps({"text": calibration}))
    suite = f"lm:corpora={copied},windows=6,seqlen=32"
    found = compared(suite=suite, draws=1, seqlen=128, calibration_windows=8)
    assert found["failed"] == 0
    kept = [json.loads(file.read_text()) for file in compared.kept]
    rows = [row for cell in kept for row in cell["record"].get("rows", ())]
    # It may be in any draw, so the dense model's figures leave it out too.
    dropped = [r["details"]["overlap"]["dropped"] for r in rows if "overlap" in r["details"]]
    assert len(kept) == 4 and len(dropped) >= 2 and min(dropped) > 0


def test_suites_leave_out_what_the_model_was_made_with_beside_named_texts(
    compared: Comparisons, text_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "made"
    shutil.copytree(compared.model, copy)
    words = "only the model has seen these ten words of an old text"
    SeenText.of([words]).save(copy / FILE)
    (copy / "autoprune.json").write_text("{}")
    with replace(compared, model=copy).bench(texts={"one": str(text_file)}, draws=1) as bench:
        known = bench.seen_before
        assert known is not None and bench.seen is not None
        assert known.digest != bench.seen.digest
        both = united([bench.seen, SeenText.of([words])])
        assert both is not None and known.digest == both.digest


def test_suites_leave_out_what_recovery_may_read_beyond_a_draw(
    compared: Comparisons, text_file: Path
) -> None:
    with compared.bench(texts={"one": str(text_file)}, draws=1) as bench:
        pool = bench.draws.pool(bench, bench.draws.number("one", 0))
        assert len(pool) > bench.draws.samples
        everything = seen_in([pool], bench.tokenizer)
        assert bench.seen is not None and everything is not None
        assert bench.seen.digest == everything.digest


def test_the_own_calibration_part_may_be_short_where_texts_are_named(
    compared: Comparisons, text_file: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n\n".join(text_file.read_text().split("\n\n")[:8]))
    compared = replace(compared, text=short)
    small = {"calibration_windows": 64, "selection_windows": 1, "sealed_windows": 1, "draws": 1}
    with pytest.raises(UsageError, match="the calibration part of the text holds"):
        compared(**small)
    found = compared(texts={"long": str(text_file)}, **small)
    assert found["failed"] == 0 and found["rows"][0]["perplexity"] > 1


def test_a_comparison_on_texts_of_which_none_is_there_says_so(
    compared: Comparisons, tmp_path: Path
) -> None:
    found = compared("magnitude,wanda", texts={"gone": str(tmp_path / "missing.txt")})
    rows = {row["method"]: row for row in found["rows"]}
    assert "does not exist" in rows["wanda@gone"]["reason"]
    assert rows["magnitude"]["status"] == "ok"
