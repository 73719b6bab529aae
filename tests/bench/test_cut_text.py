"""A text that was cut is recorded under names that readers of earlier records know."""

import json
from pathlib import Path

import pytest
import torch

from autoprune import Bench
from autoprune.bench.cut_text import SELECTION_WINDOWS, CutText, cut_windows, split_windows
from autoprune.bench.text import CALIBRATION, SELECTION, BenchText
from autoprune.store import Store
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split


def test_windows_come_from_all_documents_of_a_text(tiny_folder: Path, tmp_path: Path) -> None:
    words = ("alpha", "beta", "gamma", "delta")
    rows = [json.dumps({"text": f"{word} " * 400}) for word in words]
    (tmp_path / "text.jsonl").write_text("\n".join(rows))
    found = []
    for seed in (0, 1):
        with Bench(str(tiny_folder), Store(tmp_path), BenchText("", 0, {}), seed) as bench:
            cut_windows(bench, str(tmp_path / "text.jsonl"), 2, 32, fresh=2)
            windows = torch.cat([bench.windows[CALIBRATION], bench.fresh_windows(2)])
            found.append([bench.tokenizer.decode(row) for row in windows])
    for texts in found:
        # One window of each, those of a recovery included.
        assert {word for text in texts for word in words if word in text} == set(words)
    assert found[0] != found[1]


def test_a_text_is_recorded_under_the_names_of_earlier_versions() -> None:
    text = CutText("corpus", "ab12", 4, 32, 128, {"checked": 0}, ("few windows",))
    assert json.dumps(text.to_json()) == (
        '{"corpus": "corpus", "digest": "ab12", "windows": 4, "seqlen": 32, "tokens": 128}'
    )
    assert json.dumps(text.record) == (
        '{"corpus": "corpus", "corpus_digest": "ab12", "samples": 4, "seqlen": 32, '
        '"spread": true, "overlap": {"checked": 0}}'
    )


@pytest.mark.parametrize("count", [4, 5000])
def test_both_ways_to_cut_a_text_say_what_it_is_and_what_it_lacks(
    count: int, tiny_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    whole = load_corpus(str(text_file))
    with Bench(str(tiny_folder), Store(tmp_path), BenchText("", 0, {})) as bench:
        found = cut_windows(bench, str(text_file), count, 32)
        assert (found.corpus, found.digest) == (whole.name, whole.digest)
        assert (found.windows, found.seqlen) == (len(bench.windows[CALIBRATION]), 32)
        assert found.tokens == 32 * found.windows
        parted = split_windows(bench, str(text_file), count, 32, 3)
        part = parted.calibration
        assert part.digest == split(whole, 3).calibration.digest
        assert part.overlap is None and part.windows == len(bench.windows[CALIBRATION])
        assert parted.selection.windows == len(bench.windows[SELECTION]) == SELECTION_WINDOWS
        assert parted.split == {"seed": 3, "digest": split(whole, 3).digest}
        assert not parted.selection.notes
    for text, name in ((found, "the text "), (part, "the calibration part of ")):
        assert any(name + text.corpus in note for note in text.notes) == (count > 4)
