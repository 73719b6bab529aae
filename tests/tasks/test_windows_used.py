"""Windows of a search: draws alike, all sealed ones that there are, and none of another version."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from autoprune.bench.text import SEALED, SELECTION
from autoprune.errors import UsageError
from autoprune.search.spec import SearchSpec
from autoprune.text.windows import WINDOWS_VERSION
from flows.compare.params import CompareParams
from flows.demo.grammar import DEFAULTS
from flows.evaluate.params import EvaluateParams
from flows.promote.params import PromoteParams
from flows.search.foreseeing import about_windows
from flows.search.params import SearchParams
from flows.search.unchanged import require_same_windows
from tasks.compare_bench import CompareBench
from tasks.prepare import prepare
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.workbench import opened
from tests.support.tiny_subject import tiny_subject
from tests.support.tiny_texts import marked_document, word_tokenizer


def test_all_sealed_windows_there_are_and_a_note(bench: SearchBench) -> None:
    bench.text.counts["sealed"] = 10_000
    facts = prepare(bench)
    count = len(bench.part(SEALED))
    assert facts["parts"][SEALED]["windows"] == count > 50
    assert facts["windows_version"] == WINDOWS_VERSION and facts["beginning_token"] == "none"
    (note,) = about_windows(bench.spec, facts)
    assert f"holds {count} windows of 32 tokens and 10000 are asked for" in note


def test_a_selection_part_that_is_too_short_is_refused(bench: SearchBench) -> None:
    bench.text.counts["selection"] = 10_000
    with pytest.raises(
        UsageError, match=r"selection part .* 10000 are asked for; lower --selection-windows"
    ):
        bench.part(SELECTION)


def test_a_hundred_sealed_windows_are_usual_and_fewer_are_noted() -> None:
    usual = [
        SearchSpec(model="m", corpus="c").sealed_windows,
        SearchParams().sealed_windows,
        CompareParams().sealed_windows,
        EvaluateParams().measured_windows,
        PromoteParams().measured_windows,
    ]
    assert usual == [100] * 5
    spec = SearchSpec(model="m", corpus="c", sealed_windows=DEFAULTS["sealed_windows"])
    (line,) = about_windows(spec, {"fewer_windows": ""})
    assert "of 8 windows, where 100 are usual" in line
    assert about_windows(SearchSpec(model="m", corpus="c"), {"fewer_windows": ""}) == []


@pytest.mark.parametrize(
    "known", [{}, {"windows_version": 1, "beginning_token": "none"}, {"windows_version": 2}]
)
def test_a_search_on_other_windows_does_not_go_on(known: dict[str, object]) -> None:
    facts = {"windows_version": 2, "beginning_token": "<s>"}
    with pytest.raises(UsageError, match="be compared with new ones; start another search with"):
        require_same_windows("night", {"parts": {}, **known}, facts)
    require_same_windows("night", {}, facts)
    require_same_windows("night", {"parts": {}, **facts}, facts)


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[tuple[SearchBench, CompareBench]]:
    """A search and a comparison on a text whose words name their places."""
    folder, text = tmp_path / "tiny", tmp_path / "text.jsonl"
    subject = replace(tiny_subject(), tokenizer=word_tokenizer(begins=True))
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    documents = (marked_document(number, 300) for number in range(40))
    text.write_text("".join(f'{{"text": {d!r}}}\n'.replace("'", '"') for d in documents))
    spec = SearchSpec(model=str(folder), corpus=str(text), calibration_windows=10, seqlen=32)
    state = State.open(tmp_path / "state")
    search = SearchBench(str(folder), state, spec=spec, run_id="marked")
    compare = CompareBench(
        str(folder), state, corpus=str(text), calibration_windows=10, seqlen=32,
        counts={"selection": 4, "sealed": 10_000},
    )  # fmt: skip
    with opened(search), opened(compare):
        yield search, compare


def test_every_draw_has_its_share_of_leads(marked: tuple[SearchBench, CompareBench]) -> None:
    """The first draw was the leads of the first documents, and the others were not."""
    search, compare = marked
    shares: dict[str, list[float]] = {"search": [], "compare": []}
    tokenizer = search.tokenizer
    for number in range(6):
        benches = {"search": search, "compare": compare}
        windows = {name: bench.drawn_windows(number) for name, bench in benches.items()}
        for name, rows in windows.items():
            places = [int(tokenizer.decode(row).split("p")[1].split()[0]) for row in rows.tolist()]
            assert (rows[:, 0] == 0).all()
            # Ten windows of as many documents, in the ends of some: of the first draw too.
            documents = {tokenizer.decode(row).split("d")[1].split()[0] for row in rows.tolist()}
            assert len(documents) >= (8 if name == "search" else 4)
            assert max(places) > 200
            shares[name].append(fmean(place < 60 for place in places))
    for name, found in shares.items():
        assert fmean(found) == pytest.approx(0.2, abs=0.15), name
    # The sealed part of the comparison gives what it has.
    assert 50 < len(compare.part("sealed")) < 10_000
    with pytest.raises(UsageError, match="lower --selection-windows"):
        compare.text.counts["selection"] = 10_000
        compare.part("selection")
