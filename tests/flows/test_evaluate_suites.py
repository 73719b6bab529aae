"""Every suite through the command line on a tiny model: figures, comparison, hygiene, bad input."""

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest

from autoprune.evaluation.suites import cost, lm, tasks
from autoprune.evaluation.suites.rows import Row
from autoprune.evaluation.suites.table import read_rows
from autoprune.text.seen_text import FILE, SeenText
from flows.evaluate.text import evaluation_text
from tasks.sealed_looks import sets_on_record
from tasks.state import State
from tasks.track import Tracker
from tests.support.command_line import PRUNE, CommandLine
from tests.support.tiny_subject import broken_subject, byte_tokenizer, save_subject

Record = dict[str, Any]
QUESTIONS = [
    {"question": "The sky is", "choices": ["blue", "a tall cat"], "label": 0},
    {"question": "Water is", "choices": ["a dog", "wet"], "label": 1},
    {"question": "Grass is", "choices": ["green", "loud"], "label": 0},
]
TASK = """
task: local_{kind}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
{rest}
"""
KINDS = {
    "choice": (
        "output_type: multiple_choice\ndoc_to_target: label\ndoc_to_choice: choices\n"
        "metric_list: [{metric: acc}]"
    ),
    "generation": (
        'output_type: generate_until\ndoc_to_target: "{{choices[label]}}"\n'
        'generation_kwargs: {until: ["\\n"], max_gen_toks: 4}\nmetric_list: [{metric: exact_match}]'
    ),
}
DATED = [
    {"id": "a", "question": "What is 2 + 3?", "answer": "5", "date": "2023-05-01"},
    {"id": "b", "question": "What is 6 * 7?", "answer": "42", "date": "2025-01-15"},
]


EVALUATE = "evaluate MODEL --corpus TEXT --measured-windows 4 --seqlen 48"


@pytest.fixture
def memory_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in a process that takes seconds to start; one test here starts it."""
    monkeypatch.setattr(cost, "peaks_alone", lambda _, __, batches, *___: [1e8] * len(batches))


@pytest.fixture
def task_folder(tmp_path: Path) -> str:
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for kind, rest in KINDS.items():
        (folder / f"{kind}.yaml").write_text(TASK.format(kind=kind, data=data, rest=rest))
    return str(folder)


def by_name(record: Record) -> dict[tuple[str, str, str], Record]:
    return {(row["suite"], row["name"], row["metric"]): row for row in record["rows"]}


def test_all_suites_at_once_are_kept_and_mirrored(
    cli: CommandLine, task_folder: str, tmp_path: Path
) -> None:
    dated = tmp_path / "dated.jsonl"
    dated.write_text("".join(json.dumps(item) + "\n" for item in DATED))
    suites = "lm,tasks,reasoning:shots=1,new_tokens=4,live:new_tokens=4,cost:prompt=8,new=2"
    record = cli.record(
        f"{EVALUATE} --suite {suites} --tasks local_choice,local_generation"
        f" --task-folder {task_folder} --generators digits --problems 3 --live-file {dated}"
        " --cutoff 2024-03 --batches 1 --repeats 1"
    )
    rows = by_name(record)
    assert {suite for suite, _, _ in rows} == {"lm", "tasks", "reasoning", "live", "cost"}
    choice, generated = rows["tasks", "local_choice", "acc"], ("local_generation", "exact_match")
    assert len(choice["items"]) == 3 and choice["protocol"]["shots"] == 0
    assert rows["tasks", *generated]["status"] == "ok"
    assert rows["live", "after cutoff", "accuracy"]["details"]["headline"]
    assert rows["cost", "bitmask", "size"]["details"]["reloaded_equal"]
    for row in record["rows"]:
        assert row["protocol"]["dtype"] == "float32", "no figure without its protocol"
    folder = Path(record["folder"])
    assert read_rows(folder / "rows.parquet") == [Row.from_json(row) for row in record["rows"]]
    assert pyarrow.parquet.read_table(folder / "rows.parquet").num_rows == len(rows)
    run = Tracker(State.open()).client.get_run(record["mlflow_run"])
    assert run.info.status == "FINISHED" and run.data.tags["autoprune.kind"] == "evaluation"
    assert run.data.metrics["lm/text.txt/perplexity"] == pytest.approx(record["perplexity"])
    assert run.data.params["suite"].startswith("lm,tasks")


def test_against_another_model_is_paired_and_against_a_record_too(
    cli: CommandLine, pruned: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    cli.places["MODEL"] = pruned
    record = cli.record(f"{EVALUATE} --against {tiny_folder}")
    (found,) = [c for c in record["comparison"] if c["metric"] == "perplexity"]
    assert found["paired"]["items"] == 4
    assert found["paired"]["ratio"] == pytest.approx(found["value"] / found["other"])
    assert by_name(record)["lm", "text.txt", "kl_to_dense"]["value"] > 0
    assert "figures were compared" not in evaluation_text(record), "one alone needs no such note"
    twice = {**record, "comparison": [*record["comparison"], {**found, "name": "other.txt"}]}
    assert "2 figures were compared, each at 95 % by itself" in evaluation_text(twice)
    # The text that calibrated the one is left out for both, so the pairs are pairs.
    overlap = by_name(record)["lm", "text.txt", "perplexity"]["details"]["overlap"]
    assert overlap["dropped"] > 0
    assert any("calibrated on: left out" in note for note in record["notes"])

    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    same = cli.record(f"{EVALUATE} --against {file}")
    assert {c["paired"]["difference"] for c in same["comparison"] if c["paired"]} == {0.0}
    # The dense model alone saw no text: its windows are others, and so is the protocol. Only the
    # comparison is refused: the figures are there and kept.
    cli.places["MODEL"] = tiny_folder
    line = f"{EVALUATE} --seqlen 32 --against {file} -q"
    printed = cli(f"{line} --json", code=2)
    alone = printed.record
    assert alone["perplexity"] > 1 and Path(alone["folder"], "rows.parquet").is_file()
    assert {c["other"] for c in alone["comparison"]} == {None}
    for words_shown in (alone["refusal"], printed.err):
        assert "different protocols" in words_shown and "seqlen is 48 and 32" in words_shown
        assert "corpus is" in words_shown
    shown = cli(line, code=2).out
    assert "; not compared" in shown and "seqlen is 48 and 32" in " ".join(shown.split())
    cli.refuses(f"{EVALUATE} -q --against {tmp_path / 'no.json'}", "does not exist")
    file.write_text("[]")
    cli.refuses(line, "not a record of an evaluation")


def test_text_shows_figure_protocol_and_comparison(
    cli: CommandLine, pruned: Path, tiny_folder: Path
) -> None:
    cli.places["MODEL"] = pruned
    shown = cli(f"{EVALUATE} --measured-windows 3 -q --against {tiny_folder}").out
    assert shown.startswith("perplexity") and "over 3 pairs" in shown
    joined = " ".join(shown.split())
    assert "windows 3" in joined and "seqlen 48" in joined and "dtype float32" in joined
    assert "tokenizer" in joined and "seed 0" in joined and "beginning_token none" in joined
    lines = [line for line in shown.splitlines() if not line.startswith(("saved", "next", "note"))]
    assert max(map(len, lines)) <= 100


@pytest.mark.usefixtures("memory_known")
def test_figures_go_into_the_card_of_a_folder_if_asked(
    cli: CommandLine, pruned: Path, tiny_folder: Path
) -> None:
    cli.places["MODEL"] = pruned
    card = pruned / "README.md"
    before = card.read_text()
    small = "--suite lm,cost:batches=1,prompt=8,new=2,repeats=1"
    plain = cli.record(f"{EVALUATE} {small} --against {tiny_folder}")
    assert plain["card"] is None and card.read_text() == before
    shown = cli(f"{EVALUATE} {small} --against {tiny_folder} --card -q").out
    assert f"card  {card}" in shown and f"saved {plain['folder']}" in shown, "the same run"
    text = card.read_text()
    assert text.startswith(before.rstrip()) and f"against `{tiny_folder}`" in text
    value = by_name(plain)["lm", "text.txt", "perplexity"]["value"]
    (line,) = [line for line in text.splitlines() if line.startswith("| perplexity | ")]
    assert f"| {value:.4g} \\[" in line and " times, " in line
    assert "| decode | batch 1 |" in text and "dtype float32" in text and "seqlen 48" in text
    # One suite again: its section is replaced, the other one stays.
    alone = cli.record(f"{EVALUATE} --measured-windows 3 --card")
    again = card.read_text()
    assert f"| {alone['perplexity']:.4g} \\[" in again and "windows 3" in again
    assert line not in again and "| decode | batch 1 |" in again
    cli.places["MODEL"] = tiny_folder
    cli.refuses(f"{EVALUATE} --card -q", "no autoprune.json", "name a folder that")
    assert not (tiny_folder / "README.md").exists()


def test_the_headline_is_of_the_windows_that_were_measured(cli: CommandLine) -> None:
    record = cli.record("evaluate MODEL --corpus TEXT --suite lm:windows=2,seqlen=16")
    assert (record["windows"], record["seqlen"]) == (2, 16)


def test_what_the_model_has_seen(
    cli: CommandLine, pruned: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    cli.places["MODEL"] = pruned
    row = cli.record(f"{EVALUATE} --overlap report")["rows"][0]
    assert row["details"]["overlap"]["contaminated"] > 0
    assert row["details"]["overlap"]["dropped"] == 0
    assert row["protocol"]["corpus"] == row["details"]["text"]
    dropped = cli.record(EVALUATE)["rows"][0]
    assert dropped["protocol"]["corpus"] != dropped["details"]["text"] == row["details"]["text"]
    cli.refuses(f"{EVALUATE} -q --overlap refuse", "calibrated on", code=1)
    text = tmp_path / "seen.txt"
    text.write_text("\n\n".join(f"seen words number {n} and {n} more of them" for n in range(9)))
    (row,) = cli.record(f"evaluate MODEL --corpus {text} --references {text} --seqlen 16")["rows"]
    assert row["status"] == "unavailable" and "says nothing" in row["reason"]
    # Neither model's text is measured on, so that nobody is blamed for the other's.
    (note, *_) = cli.record(f"{EVALUATE} --against {tiny_folder}")["notes"]
    assert "parts are text that one of the two models was calibrated on: left out" in note

    # What is pruned again has seen both texts.
    before, again = SeenText.load(pruned / FILE), tmp_path / "again"
    text.write_text("\n\n".join(f"other words {i} stand here, {i + 1} of them" for i in range(60)))
    cli(f"{PRUNE} --corpus {text} --seqlen 48 --out {again}")
    after = SeenText.load(again / FILE)
    for n, grams in before.grams.items():
        assert set(grams) < set(after.grams[n])


@pytest.mark.parametrize("stream", ["", "--stream"])
def test_a_model_never_appears_without_what_it_has_seen(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(SeenText, "save", full)
        cli.refuses(f"{PRUNE} --seqlen 48 {stream} --out {out}", "No space left", code=1)
    assert not out.exists()
    # A streamed run goes on from its last block.
    cli(f"{PRUNE} --seqlen 48 {stream} --out {out}")
    assert SeenText.load(out / FILE).grams and not (tmp_path / "out.partial").exists()


def test_prune_leaves_held_out_text_out(cli: CommandLine, tmp_path: Path) -> None:
    documents = cli.places["TEXT"].read_text().split("\n\n")
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("\n\n".join(documents[:3]))
    overlap = cli.record(f"{PRUNE} --seqlen 48 --held-out {held_out}")["overlap"]
    assert overlap["dropped"] == 3 and overlap["checked"] == len(documents)
    words_shown = "nothing is left to calibrate on"
    cli.refuses(f"{PRUNE} --seqlen 48 --held-out TEXT", words_shown, code=1)


def test_sealed_touches_are_counted_once_a_run(cli: CommandLine) -> None:
    def touched(words: str) -> dict[str, int]:
        return dict(cli.record(f"{EVALUATE} {words}")["sealed_touches"])

    first = cli.record(f"{EVALUATE} --part sealed")
    (digest,) = first["sealed_touches"]
    assert first["sealed_touches"] == touched("--part sealed") == {digest: 1}
    # The whole text holds the sealed part, of this seed and of any.
    (whole,) = touched("--seed 2").items()
    assert whole[0] != digest and whole[1] == 2
    assert touched("--part sealed --measured-windows 3") == {digest: 3}
    assert touched("--part selection") == {}
    (drawn,) = first["splits"].values()
    assert (drawn["part"], drawn["seed"]) == ("sealed", 0)
    run = Tracker(State.open()).client.get_run(first["mlflow_run"])
    assert json.loads(run.data.params["splits"]) == {"text.txt/sealed": drawn["digest"]}


def test_a_look_stays_noted_when_the_other_model_fails(
    cli: CommandLine, home: Path, tmp_path: Path
) -> None:
    sealed = f"{EVALUATE} --part sealed --against {tmp_path}"
    cli.refuses(f"{sealed}/nowhere -q", "allowed are")
    assert not (home / "sealed-touches.jsonl").exists()
    other = shutil.copytree(cli.places["MODEL"], tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"damaged")
    record = cli.record(f"{sealed}/other", code=2)
    assert "could not be measured" in record["refusal"] and record["comparison"] == []
    distance = by_name(record)["lm", "text.txt/sealed", "kl_to_dense"]
    assert "could not be loaded" in distance["reason"]
    assert record["perplexity"] > 1 and list(record["sealed_touches"].values()) == [1]


def test_nan_logits_are_a_result(cli: CommandLine, task_folder: str, tmp_path: Path) -> None:
    against = cli.places["MODEL"]
    cli.places["MODEL"] = save_subject(broken_subject(), tmp_path / "broken")
    suites = "--suite lm,reasoning:items=2,generators=digits,tasks --tasks local_choice"
    line = f"{EVALUATE} {suites} --task-folder {task_folder} --against {against}"
    record = cli.record(line)
    assert {row["status"] for row in record["rows"]} == {"not_finite"}
    assert record["perplexity"] == "inf"
    assert len(record["comparison"]) == 4 and record["refusal"] == ""
    for entry in record["comparison"]:
        assert entry["reason"].startswith("not finite") and entry["other"] is not None


def test_the_type_and_a_tokenizer_without_a_beginning_token_are_noted(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.places["MODEL"] = shutil.copytree(cli.places["MODEL"], tmp_path / "no-begin")
    byte_tokenizer(begin=False).save_pretrained(cli.places["MODEL"])
    line = f"{EVALUATE} --measured-windows 10000 --dtype"
    record, half = (cli.record(f"{line} {kind}") for kind in ("float32", "bfloat16"))
    assert not record["rows"][0]["details"]["starts_with_beginning_token"]
    for words_shown in ("no beginning token", "and 10000 are asked for: figures are of all"):
        assert any(words_shown in note for note in record["notes"]), record["notes"]
    first, second = record["rows"][0], half["rows"][0]
    assert [row["protocol"]["dtype"] for row in (first, second)] == ["float32", "bfloat16"]
    assert first["value"] != second["value"] == pytest.approx(first["value"], rel=0.05)


@pytest.mark.usefixtures("memory_known")
def test_a_model_that_others_pruned_says_what_is_not_known(cli: CommandLine, pruned: Path) -> None:
    (pruned / "seen_text.npz").unlink()
    (pruned / "autoprune.json").unlink()
    cli.places["MODEL"] = pruned
    record = cli.record(f"{EVALUATE} --suite lm,cost:batches=1,prompt=8,new=2,repeats=1")
    rows = by_name(record)
    note = rows["lm", "text.txt", "perplexity"]["details"]["overlap"]["note"]
    assert note == "no record of the calibration text"
    assert rows["cost", "model", "zeros"]["details"]["sparsity"] == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--suite reasonin", ("unknown suite", "did you mean reasoning")),
        ("--suite lm:window=3", ("no parameter 'window'", "windows")),
        ("--suite lm,lm", ("named twice",)),
        ("--suite live", ("needs a file",)),
        ("--tasks boolq", ("--tasks belongs to the suite tasks",)),
        ("--suite cost --measured-windows 4", ("--measured-windows belongs to the suite lm",)),
        ("--limit 3", ("--limit belongs to the suite tasks or live",)),
        ("--suite reasoning --generators digit", ("did you mean digits",)),
        ("--suite cost --batches one", ("batches = 'one'",)),
        ("--corpus TEXT --seqlen 100000", ("shorter than one window",)),
        ("--corpus self-generated", ("written by a model",)),
        ("--model other", ("given twice",)),
    ],
)
def test_bad_input(cli: CommandLine, words: str, parts: tuple[str, ...]) -> None:
    assert cli.refuses(f"evaluate MODEL -q {words}", *parts).out == ""


def test_what_a_suite_refuses_is_known_before_the_first_one_measures(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = tmp_path / "dated.jsonl"
    dated.write_text("".join(json.dumps(item) + "\n" for item in DATED))

    def measured(*args: object, **kwargs: object) -> None:
        raise AssertionError("the suite lm was measured before the others were looked at")

    monkeypatch.setattr(lm, "evaluate_windows", measured)
    # In place of thousands of task files; tests/evaluation/suites/test_tasks.py reads those.
    monkeypatch.setattr(tasks, "_stock_manager", lambda: SimpleNamespace(all_tasks=["boolq"]))
    small = "evaluate MODEL --corpus TEXT -q --suite lm:windows=2,seqlen=16"
    cli.refuses(f"{small},tasks --tasks boolqq", "did you mean boolq")
    cli.refuses(f"{small},live --live-file {dated}", "no declared training cutoff")
    cli.refuses(f"{small},cost:prompt=100000", "positions")
    cli.refuses(f"{small},reasoning:items=500 --generators digits", "made")
    cli.refuses(f"{small},steps:chains=3,corrupted=0.01", "0 wrong ones")
    # What is refused is no look at the sealed text.
    cli.refuses(f"{small},reasoning:items=500 --generators digits --part sealed", "made")
    alone = "evaluate MODEL --corpus TEXT -q --part sealed --seqlen 100000"
    cli.refuses(alone, "shorter than one window")
    assert sets_on_record(State.open()) == []
