"""Every figure of the documents that quote some is made from a record, or says it has none."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoprune.digest import digest_bytes
from autoprune.evaluation.contrasts import contrast
from benchmarks.evidence.__main__ import DOCUMENTS
from benchmarks.evidence.checking import MARKERS, faults_of, read_figures, records_in
from benchmarks.evidence.derivations import DERIVATIONS
from benchmarks.evidence.documents import blocks_of
from benchmarks.evidence.figures import Figure, figures_of
from benchmarks.evidence.records import SCORES, EvidenceError, label_of, read_record
from benchmarks.evidence.writing import write_record
from tests.support.made_record import DECLARED, DENSE, LOSSES, ORIGIN, made_record, write

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "evidence"

GOOD = """# Title 1.5

Text without a figure, for Qwen2.5-Coder-1.5B (arXiv 2402.12419), on 2026-11-27.

<!-- evidence: made -->
| perplexity | 60 % | 2:4 |
|---|---:|---:|
| dense | 13.46 | 13.46 |
| **Wanda + MRP** | **54.60 ± 0.00 (−29.5 %)** | 60.34 ± 0.00 (-45.1 %) |
| wanda | 77.58 ± 5.48 | 109.95 ± 0.00 |

MRP has 0.705 of Wanda's, from 12.5 % of the
text. <!-- evidence: made -->

```
autoprune --sparsity 0.6
```
Code in a line, `0.77`, and a [link](https://x.org/v1.5.html) hold none.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of records with one that was made for tests."""
    return made_record(tmp_path / "evidence")


def faults(text: str, root: Path) -> list[str]:
    figures, broken = read_figures(root, records_in(root))
    assert broken == []
    return faults_of(text, "doc.md", figures)


# Documents


def test_a_document_whose_figures_follow_from_the_record_passes(root: Path) -> None:
    assert faults(GOOD, root) == []


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("54.60 ±", "54.61 ±", 9),
        ("± 5.48", "± 5.84", 10),
        ("(−29.5 %)", "(−39.5 %)", 9),
        ("13.46 | 13.46", "13.46 | 13.47", 8),
        ("0.705", "0.704", 12),
        ("12.5 % of", "13 % of", 12),
    ],
)
def test_a_wrong_number_fails(root: Path, right: str, wrong: str, line: int) -> None:
    (only,) = faults(GOOD.replace(right, wrong), root)
    assert only.startswith(f"doc.md:{line}: ") and "is not a figure of evidence/made" in only


def test_a_right_number_in_another_cell_fails(root: Path) -> None:
    text = GOOD.replace("60.34", "109.95").replace("109.95 ± 0.00 |\n\n", "60.34 ± 0.00 |\n\n")
    found = faults(text, root)
    assert len(found) == 2
    assert "row '**Wanda + MRP**', column '2:4'" in found[0]
    assert found[0].endswith("; it is perplexity of wanda at 2:4")


@pytest.mark.parametrize("text", ["27.1 where", "a half, 50 %,", "1e-5 of", "−0.5", "(**3.14**)"])
def test_a_number_without_a_record_fails(root: Path, text: str) -> None:
    (only,) = faults(f"{GOOD}\nThe champion has {text} that.\n", root)
    assert "names no record; write <!-- evidence: ID -->" in only
    assert (
        f"<!-- not measured: {text.strip('(*)').split(' ')[0].rstrip(',')}" in only
        or "50 %" in only
    )
    # A record that is not there is no excuse.
    (first, *_) = faults(f"The champion has {text} that. <!-- evidence: other -->", root)
    assert "evidence/other is not a readable record; there are: made" in first


def test_a_section_without_record_says_so(root: Path) -> None:
    text = "# All\n\n## Old\n<!-- no record -->\n{}\n\n### Part\n\n- Then 30.8.\n\n## New\n\n{}\n"
    sentence = "No raw record\nexists for the figures of this section."
    assert faults(text.format(sentence, "none"), root) == []
    (only,) = faults(text.format("nothing", "none"), root)
    assert only.startswith("doc.md:9: ") and "does not say that no raw record exists" in only
    # It holds for what stands under its heading, and not for the next one.
    (only,) = faults(text.format(sentence, "Now 27.1."), root)
    assert only.startswith("doc.md:14: 27.1 names no record")
    # What names a record there is held against it.
    (only,) = faults(
        text.format(sentence, "x").replace("30.8.", "30.8. <!-- evidence: made -->"), root
    )
    assert "30.8 is not a figure of evidence/made" in only


def test_a_comment_speaks_for_one_table_or_paragraph(root: Path) -> None:
    one = "<!-- evidence: made -->\n\nFirst 0.705,\nstill 0.705.\n"
    assert faults(one, root) == []
    for after in (
        "\nThen 0.705.\n",
        "- then 0.705.\n",
        "| a | b |\n|---|---|\n| dense | 0.705 |\n",
    ):
        (only,) = faults(one + after, root)
        assert "0.705 names no record" in only


def test_settings_and_versions_are_named_as_such(root: Path) -> None:
    text = "At 60 % of llm-compressor 0.14, from 60 %. <!-- not measured: 60 %; 0.14 -->\n"
    assert faults(text, root) == []
    (only,) = faults(text.replace("; 0.14", "; 0.14; 0.15"), root)
    assert "0.15 is listed as not measured and does not appear here" in only
    (only,) = faults(text.replace("; 0.14", ""), root)
    assert "0.14 names no record" in only


def test_what_holds_numbers_is_read(root: Path) -> None:
    text = "Between 29.1/30.8 and 0.05–0.2 [−4.0, +6.8], 3,695.5 in all (45 %).\n"
    found = [number.text for block in blocks_of(text) for number in block.numbers()]
    assert found == ["29.1", "30.8", "0.05", "0.2", "−4.0", "+6.8", "3,695.5", "45 %"]
    whole = GOOD.replace("-->\n|", "-->\n\n|")
    assert sum(1 for block in blocks_of(whole) for _ in block.numbers()) == 14
    assert faults(whole, root) == []


# Records


def test_derivations_are_what_they_say(root: Path) -> None:
    record = read_record(root / "made")
    own, wanda = (np.array(LOSSES[name]["60 %"]) for name in ("wanda+mrp", "wanda"))
    perplexities = np.exp(own.mean(axis=1))
    mean = (own - wanda).mean()
    of: dict[str, Any] = {"method": "wanda+mrp", "budget": "60 %", "against": "wanda"}
    expected = {
        "perplexity": perplexities.mean(),
        "deviation": perplexities.std(ddof=1),
        "change": 100 * np.expm1(mean),
        "ratio": np.exp(mean),
        "won back": -100 * mean / (wanda - np.array(DENSE)).mean(),
        "seconds": 10.5,
        "selection": np.exp(own.mean(axis=1) + 0.1).mean(),
        "megabytes": 5.5,
        "measure": 62.5,
        "measure deviation": 12.5 * math.sqrt(2),
        "measure change": 25,
    }
    of |= {"form": "compact", "suite": "words", "metric": "right", "scale": 100}
    for name, value in expected.items():
        assert DERIVATIONS[name](record, of) == pytest.approx(value, abs=1e-9), name
    # Student's t with one degree of freedom: 12.706 deviations of the mean.
    half = 12.706 * np.abs(np.diff((own - wanda).mean(axis=0)))[0] / 2
    for name, end in (("low over windows", -half), ("high over windows", half)):
        assert DERIVATIONS[name](record, of) == pytest.approx(100 * np.expm1(mean + end), rel=1e-3)
    low, middle, high = (DERIVATIONS[name](record, of) for name in ("low", "change", "high"))
    assert low < middle < high
    found = contrast(own.T - wanda.T)
    others = sum(budget == "60 %" and name != "wanda" for name, budget in record.losses)
    assert found is not None and others == len(LOSSES) - 1
    least = 100 * np.expm1(found.detectable(others))
    assert DERIVATIONS["detectable"](record, of) == pytest.approx(least)
    dense = DERIVATIONS["change"](record, {**of, "against": "dense"})
    assert dense == pytest.approx(100 * np.expm1((own - np.array(DENSE)).mean()))
    assert DERIVATIONS["measure"](record, {**of, "metric": "size", "scale": 2}) == 15
    # One of four items differs, by one, in both draws.
    found = contrast(np.array([[1.0, 1.0], [0, 0], [0, 0], [0, 0]]))
    assert found is not None
    ends = [DERIVATIONS[f"measure {end}"](record, of) for end in ("low", "high")]
    assert ends == pytest.approx([100 * end for end in found.interval()])
    missing = r"wanda\+mrp has no (right|wrong|unknown) of the suite"
    for wrong in (
        {"suite": "live"}, {"metric": "wrong"}, {"name": "part"}, {"metric": "unknown"}
    ):  # fmt: skip
        with pytest.raises(EvidenceError, match=missing):
            DERIVATIONS["measure"](record, {**of, **wrong})
    with pytest.raises(EvidenceError, match="dense has no right of the suite words"):
        DERIVATIONS["measure change"](record, {**of, "against": "dense"})
    with pytest.raises(EvidenceError, match="holds no ria at 60 %; it has dense, wanda at 2:4"):
        DERIVATIONS["perplexity"](record, {"method": "ria", "budget": "60 %"})


def test_two_records_of_one_text_are_paired(root: Path) -> None:
    shutil.copytree(root / "made", root / "other")
    of = {"method": "wanda+mrp", "budget": "60 %", "against": "wanda"}
    across = {**of, "record": "other"}
    with pytest.raises(EvidenceError, match="made and other measured different text"):
        DERIVATIONS["change"](read_record(root / "made"), across)
    for path in root.glob("*/record.json"):
        path.write_text(path.read_text().replace('"share"', '"sealed_digest": "a", "share"'))
    record = read_record(root / "made")
    assert DERIVATIONS["change"](record, across) == DERIVATIONS["change"](record, of)


def test_plain_losses_are_a_record_too(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    events = b"one event"
    body = {**ORIGIN, "date": "2026-11-27", "format": "autoprune losses"}
    write(folder / "record.json", {**body, "files": {"events.jsonl": digest_bytes(events)}})
    methods = {name: {"60 %": {"0": LOSSES[name]["60 %"][0]}} for name in LOSSES}
    write(folder / "losses.json", {"dense": DENSE, "methods": methods})
    write(folder / "figures.json", {"tables": [{"derivation": "perplexity"}]})
    with pytest.raises(EvidenceError, match=r"found/events.jsonl is missing"):
        read_record(folder)
    (folder / "events.jsonl").write_bytes(events)
    texts = {figure.text for figure in figures_of(read_record(folder))}
    assert texts == {"13.46", f"{math.exp(4.3):.2f}", f"{math.exp(4.0):.2f}"}
    # Three draws against one: refused, unless that one is said to stand for all.
    three = {str(draw): [3.0 + draw] * 2 for draw in range(3)}
    methods = {"one": {"": {"0": [2.0] * 2}}, "three": {"": three}}
    write(folder / "losses.json", {"methods": methods})
    made, of = read_record(folder), {"method": "three", "budget": "", "against": "one"}
    with pytest.raises(EvidenceError, match="one lacks the draws 1, 2 of three"):
        DERIVATIONS["change"](made, of)
    assert DERIVATIONS["change"](made, {**of, "once": True}) == pytest.approx(100 * math.expm1(2.0))


def test_budgets_in_bytes_and_speed_have_labels_of_their_own() -> None:
    asked = (("unstructured", 0.6), ("bytes", 0.1), ("bytes", 0.25), ("faster", 1.3))
    labels = [label_of({"sparsity": value, "pattern": pattern}) for pattern, value in asked]
    assert labels == ["60 %", "10 % of the bytes", "25 % of the bytes", "1.3 times the speed"]
    assert label_of({"sparsity": 0.5, "pattern": "2:4"}) == "2:4"


def change_figure(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda declared: declared["figures"][0].update(changes)


def test_forecasts_are_a_record_too(tmp_path: Path) -> None:
    folder = tmp_path / "forecasts"
    pairs = [{"recipes": ["x", "y"], "better": letter} for letter in "ABBA"]
    answers = {"list": ["A", "B", "A", "A"], "graph": ["A", None, None, None]}
    write(folder / "forecasts.json", {"pairs": pairs, "answers": answers})
    write(folder / "record.json", {**ORIGIN, "date": "2026-11-28", "format": "autoprune forecasts"})
    found = read_record(folder)
    rates = [DERIVATIONS["hit rate"](found, {"context": name}) for name in ("list", "graph")]
    assert rates == [75.0, 100.0]
    names = ("hit rate low", "hit rate high", "first shown")
    low, high, first = (DERIVATIONS[name](found, {"context": "list"}) for name in names)
    assert 0 < low < 75 == first < high < 100
    with pytest.raises(EvidenceError, match="no answers under nothing"):
        DERIVATIONS["hit rate"](found, {"context": "nothing"})


def test_a_written_record_is_read_and_names_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "steps"
    options = ["--seed", "3", "--log", "A", "B", "--record", str(folder), "--pairs=9", "--log=C"]
    options += ["--model", str(tmp_path / "models" / "model.gguf")]
    monkeypatch.setattr("sys.argv", ["benchmarks", *options])
    content = {"right": [[True]], "scores": {"uhead": [[0.4]]}}
    write_record(folder, SCORES, "python -m it", ("scores.json", content), ["--log"], by="somebody")
    body = read_record(folder).body
    assert (body["command"], body["by"]) == (
        "python -m it --seed 3 --pairs=9 --model model.gguf",
        "somebody",
    )
    (folder / "scores.json").write_text("{}")
    with pytest.raises(EvidenceError, match="not what was recorded"):
        read_record(folder)


def test_scores_of_steps_are_a_record_too(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    scores = {"right": [[True, False], [True]], "scores": {"uhead": [[0.4, 0.5], [0.9]]}}
    write(folder / "scores.json", scores)
    write(folder / "record.json", {**ORIGIN, "date": "2026-11-28", "format": "autoprune scores"})
    figure = {"name": "AUROC", "derivation": "auroc", "of": {"verifier": "uhead"}, "text": "0.50"}
    write(folder / "figures.json", {"figures": [{**figure, "value": 0.5}]})
    assert [figure.text for figure in figures_of(read_record(folder))] == ["0.50"]
    # The wrong one of three steps has the second lowest score.
    record = read_record(folder)
    assert DERIVATIONS["average precision"](record, {"verifier": "uhead"}) == 0.5
    assert DERIVATIONS["wrong share"](record, {}) == pytest.approx(1 / 3)
    assert DERIVATIONS["auroc low"](record, {"verifier": "uhead"}) == 0.0
    assert DERIVATIONS["auroc high"](record, {"verifier": "uhead"}) == 0.5
    with pytest.raises(EvidenceError, match="steps has no scores of surprisal"):
        DERIVATIONS["auroc"](read_record(folder), {"verifier": "surprisal"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_figure(value=0.71), r"is 0\.71; the record gives 0\.704688"),
        (change_figure(text="0.704"), r"is printed as 0\.704; 0\.704\d+ is 0\.705"),
        (change_figure(text="about 0.7"), "is not a number"),
        (change_figure(derivation="guess"), "unknown derivation 'guess'; known: perplexity"),
        (change_figure(of={"method": "wanda", "budget": "60 %"}), "lacks 'against'"),
    ],
)
def test_figures_that_do_not_follow_are_refused(
    root: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    declared = json.loads(json.dumps(DECLARED))
    change(declared)
    write(root / "made" / "figures.json", declared)
    with pytest.raises(EvidenceError, match=message):
        figures_of(read_record(root / "made"))
    found, broken = read_figures(root, ["made"])
    assert found == {} and len(broken) == 1 and broken[0].startswith("evidence/made/figures.json")


def test_records_are_checked(root: Path) -> None:
    folder = root / "made"
    body = json.loads((folder / "record.json").read_text())
    for part, message in (("command", "lacks command"), ("date", "lacks date")):
        less = {key: value for key, value in body["protocol"].items() if key != part}
        write(folder / "record.json", {**body, "protocol": less})
        with pytest.raises(EvidenceError, match=message):
            read_record(folder)
    # Spelled in two parts, as in test_house.
    write(folder / "record.json", {**body, "command": "prune /wor" + "k/model"})
    with pytest.raises(EvidenceError, match="names a folder of a machine"):
        read_record(folder)
    write(folder / "record.json", {**body, "format": "table"})
    with pytest.raises(EvidenceError, match="has the format 'table'; known: autoprune comparison"):
        read_record(folder)
    write(folder / "record.json", body)
    cell = next(folder.glob("cells/*/*.json"))
    cell.write_text(cell.read_text().replace("4.2", "4.1").replace("4.0", "3.0"))
    with pytest.raises(EvidenceError, match="is not what was recorded"):
        for path in sorted(folder.glob("cells/*/*.json")):
            path.write_text(path.read_text().replace("4.4", "4.3"))
        read_record(folder)


# What is published


def test_every_record_of_the_repository_is_sound() -> None:
    _, broken = read_figures(RECORDS, records_in(RECORDS))
    assert broken == []
    assert (RECORDS / "README.md").is_file()


@pytest.fixture(scope="module")
def published() -> dict[str, list[Figure]]:
    return read_figures(RECORDS, records_in(RECORDS))[0]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_figures_have_a_record_or_say_that_they_have_none(
    name: str, published: dict[str, list[Figure]]
) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert faults_of(text, name, published) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_as_it_stands_cannot_hide_a_figure(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for marker in MARKERS:
        text = text.replace(marker, "<!--")
    bare = faults_of(text, name, {})
    assert bare
    first, _, rest = text.partition("\n")
    shown = f"{first}\n<!-- no record -->\n\nNo raw record exists for these figures.\n{rest}"
    assert faults_of(shown, name, {}) == []
