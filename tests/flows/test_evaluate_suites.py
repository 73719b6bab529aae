"""Every suite through the command line on a tiny model: figures, comparison, hygiene, bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch

from autoprune.evaluation.suites.rows import Row
from autoprune.evaluation.suites.table import read_rows
from flows.cli import main
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


@pytest.fixture
def evaluate(
    tiny_folder: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Record]:
    """Run ``evaluate --json`` and return the record."""

    def run(*words: str, code: int = 0, model: Path = tiny_folder) -> Record:
        capsys.readouterr()
        shared = ["--corpus", str(text_file), "--windows", "4", "--seqlen", "48", "--json", "-q"]
        assert main(["evaluate", str(model), *shared, *words]) == code, capsys.readouterr().err
        record: Record = json.loads(capsys.readouterr().out)
        return record

    return run


@pytest.fixture
def refused(
    tiny_folder: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run ``evaluate`` and return its complaint."""

    def run(*words: str, code: int = 2, model: Path = tiny_folder) -> str:
        own = ["--corpus", str(text_file), "--windows", "4", "--seqlen", "48"]
        shared = [] if "--suite" in words else own
        assert main(["evaluate", str(model), "-q", *shared, *words]) == code
        captured = capsys.readouterr()
        assert captured.out == "" and "Traceback" not in captured.err
        return captured.err

    return run


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
    evaluate: Callable[..., Record], task_folder: str, tmp_path: Path, home: Path
) -> None:
    from tasks.mirror import tracker_of
    from tasks.state import State

    dated = tmp_path / "dated.jsonl"
    dated.write_text("".join(json.dumps(item) + "\n" for item in DATED))
    record = evaluate(
        "--suite", "lm,tasks,reasoning:shots=1,new_tokens=4,live:new_tokens=4,cost:prompt=8,new=2",
        "--tasks", "local_choice,local_generation", "--task-folder", task_folder,
        "--generators", "digits", "--problems", "3", "--live-file", str(dated),
        "--cutoff", "2024-03", "--batches", "1", "--repeats", "1",
    )  # fmt: skip
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
    run = tracker_of(State.open()).client.get_run(record["mlflow_run"])
    assert run.info.status == "FINISHED" and run.data.tags["autoprune.kind"] == "evaluation"
    assert run.data.metrics["lm/text.txt/perplexity"] == pytest.approx(record["perplexity"])
    assert run.data.params["suite"].startswith("lm,tasks")


def test_against_another_model_is_paired_and_against_a_record_too(
    evaluate: Callable[..., Record],
    refused: Callable[..., str],
    pruned: Path,
    tiny_folder: Path,
    text_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = evaluate("--against", str(tiny_folder), model=pruned)
    (found,) = [c for c in record["comparison"] if c["metric"] == "perplexity"]
    assert found["paired"]["items"] == 4
    assert found["paired"]["ratio"] == pytest.approx(found["value"] / found["other"])
    assert by_name(record)["lm", "text.txt", "kl_to_dense"]["value"] > 0
    # The text that calibrated the one is left out for both, so the pairs are pairs.
    overlap = by_name(record)["lm", "text.txt", "perplexity"]["details"]["overlap"]
    assert overlap["dropped"] > 0
    assert any("calibrated on: left out" in note for note in record["notes"])

    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    same = evaluate("--against", str(file), model=pruned)
    assert {c["paired"]["difference"] for c in same["comparison"] if c["paired"]} == {0.0}
    # The dense model alone saw no text: its windows are others, and so is the protocol. Only the
    # comparison is refused: the figures are there and kept.
    words = ["evaluate", str(tiny_folder), "--against", str(file), "--corpus", str(text_file)]
    words += ["--windows", "4", "--seqlen", "32"]
    capsys.readouterr()
    assert main([*words, "--json", "-q"]) == 2
    captured = capsys.readouterr()
    alone = json.loads(captured.out)
    assert alone["perplexity"] > 1 and Path(alone["folder"], "rows.parquet").is_file()
    assert {c["other"] for c in alone["comparison"]} == {None}
    for said in (alone["refusal"], captured.err):
        assert "different protocols" in said and "seqlen is 48 and 32" in said
        assert "corpus is" in said
    assert main([*words, "-q"]) == 2
    shown = capsys.readouterr().out
    assert "; not compared" in shown and "seqlen is 48 and 32" in " ".join(shown.split())
    assert "does not exist" in refused("--against", str(tmp_path / "no.json"))
    file.write_text("[]")
    assert "no record of an evaluation" in refused("--against", str(file))


def test_text_shows_figure_protocol_and_comparison(
    pruned: Path, tiny_folder: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--model", str(pruned), "--against", str(tiny_folder), "-q"]
    assert main([*words, "--corpus", str(text_file), "--windows", "3", "--seqlen", "48"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("perplexity") and "over 3 pairs" in shown
    joined = " ".join(shown.split())
    assert "windows 3" in joined and "seqlen 48" in joined and "dtype float32" in joined
    assert "tokenizer" in joined and "seed 0" in joined and "beginning_token none" in joined
    lines = [line for line in shown.splitlines() if not line.startswith(("saved", "next", "note"))]
    assert max(map(len, lines)) <= 100


def test_what_the_model_has_seen(
    evaluate: Callable[..., Record], refused: Callable[..., str], pruned: Path, tmp_path: Path
) -> None:
    reported = evaluate("--overlap", "report", model=pruned)
    row = reported["rows"][0]
    assert row["details"]["overlap"]["contaminated"] > 0
    assert row["details"]["overlap"]["dropped"] == 0
    assert row["protocol"]["corpus"] == row["details"]["text"]
    dropped = evaluate(model=pruned)["rows"][0]
    assert dropped["protocol"]["corpus"] != dropped["details"]["text"] == row["details"]["text"]
    assert "calibrated on" in refused("--overlap", "refuse", code=1, model=pruned)
    text = tmp_path / "seen.txt"
    text.write_text(
        "\n\n".join(f"seen words number {i} and {i} more of them again" for i in range(9))
    )
    words = ("--corpus", str(text), "--references", str(text))
    (row,) = evaluate(*words, "--seqlen", "16")["rows"]
    assert row["status"] == "unavailable" and "says nothing" in row["reason"]


def test_pruning_again_keeps_what_was_seen_before(pruned: Path, tmp_path: Path) -> None:
    from autoprune.text.seen_text import FILE, SeenText

    before = SeenText.load(pruned / FILE)
    other = tmp_path / "other.txt"
    other.write_text("\n\n".join(f"other words {i} stand here, {i + 1} of them" for i in range(60)))
    words = ["prune", "--model", str(pruned), "--corpus", str(other), "-q", "--metric", "magnitude"]
    again = tmp_path / "again"
    assert main([*words, "--calibration-windows", "2", "--seqlen", "48", "--out", str(again)]) == 0
    after = SeenText.load(again / FILE)
    for n, grams in before.grams.items():
        assert set(grams) < set(after.grams[n])


def test_prune_leaves_held_out_text_out(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    documents = text_file.read_text().split("\n\n")
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("\n\n".join(documents[:3]))
    words = ["prune", "--model", str(tiny_folder), "--corpus", str(text_file), "--json", "-q"]
    words += ["--metric", "wanda", "--calibration-windows", "2", "--seqlen", "48", "--held-out"]
    assert main([*words, str(held_out)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["overlap"]["dropped"] == 3 and record["overlap"]["checked"] == len(documents)
    assert main([*words, str(text_file)]) == 1
    assert "nothing is left to calibrate on" in capsys.readouterr().err


def test_sealed_touches_are_counted_once_a_run(evaluate: Callable[..., Record]) -> None:
    from tasks.mirror import tracker_of
    from tasks.state import State

    first = evaluate("--part", "sealed")
    (digest,) = first["sealed_touches"]
    assert first["sealed_touches"] == {digest: 1}
    assert evaluate("--part", "sealed")["sealed_touches"] == {digest: 1}
    # The whole text holds the sealed part, of this seed and of any.
    (whole,) = evaluate("--seed", "2")["sealed_touches"].items()
    assert whole[0] != digest and whole[1] == 2
    assert evaluate("--part", "sealed", "--windows", "3")["sealed_touches"] == {digest: 3}
    assert evaluate("--part", "selection")["sealed_touches"] == {}
    (drawn,) = first["splits"].values()
    assert (drawn["part"], drawn["seed"]) == ("sealed", 0)
    run = tracker_of(State.open()).client.get_run(first["mlflow_run"])
    assert json.loads(run.data.params["splits"]) == {"text.txt/sealed": drawn["digest"]}


def test_a_look_stays_noted_when_the_other_model_fails(
    evaluate: Callable[..., Record],
    refused: Callable[..., str],
    home: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    import shutil

    assert "allowed are" in refused("--part", "sealed", "--against", str(tmp_path / "nowhere"))
    assert not (home / "sealed-touches.jsonl").exists()
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"damaged")
    record = evaluate("--part", "sealed", "--against", str(other), code=2)
    assert "could not be measured" in record["refusal"] and record["comparison"] == []
    assert (
        "could not be loaded" in by_name(record)["lm", "text.txt/sealed", "kl_to_dense"]["reason"]
    )
    assert record["perplexity"] > 1 and list(record["sealed_touches"].values()) == [1]


def test_nan_logits_are_a_result(
    evaluate: Callable[..., Record], task_folder: str, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = save_subject(broken_subject(), tmp_path / "broken")
    suites = "lm,reasoning:items=2,generators=digits,tasks"
    words = ("--suite", suites, "--tasks", "local_choice", "--task-folder", task_folder)
    record = evaluate(*words, "--against", str(tiny_folder), model=folder)
    assert {row["status"] for row in record["rows"]} == {"not_finite"}
    assert record["perplexity"] == "inf"
    assert len(record["comparison"]) == 4 and record["refusal"] == ""
    for entry in record["comparison"]:
        assert entry["reason"].startswith("not finite") and entry["other"] is not None


def test_a_tokenizer_without_a_beginning_token_is_noted(
    evaluate: Callable[..., Record], tiny_folder: Path, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "no-begin"
    shutil.copytree(tiny_folder, folder)
    byte_tokenizer(begin=False).save_pretrained(folder)
    record = evaluate(model=folder)
    assert not record["rows"][0]["details"]["starts_with_beginning_token"]
    assert any("no beginning token" in note for note in record["notes"])


def test_a_model_that_others_pruned_says_what_is_not_known(
    evaluate: Callable[..., Record], pruned: Path
) -> None:
    (pruned / "seen_text.npz").unlink()
    (pruned / "autoprune.json").unlink()
    record = evaluate("--suite", "lm,cost:batches=1,prompt=8,new=2,repeats=1", model=pruned)
    rows = by_name(record)
    note = rows["lm", "text.txt", "perplexity"]["details"]["overlap"]["note"]
    assert note == "no record of the calibration text"
    assert rows["cost", "model", "zeros"]["details"]["sparsity"] == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--suite", "reasonin"), ("unknown suite", "did you mean reasoning")),
        (("--suite", "lm:window=3"), ("no parameter 'window'", "windows")),
        (("--suite", "lm,lm"), ("named twice",)),
        (("--suite", "live"), ("needs a file",)),
        (("--tasks", "boolq"), ("--tasks belongs to the suite tasks",)),
        (("--suite", "cost", "--windows", "4"), ("--windows belongs to the suite lm",)),
        (("--limit", "3"), ("--limit belongs to the suite tasks or live",)),
        (("--suite", "reasoning", "--generators", "digit"), ("did you mean digits",)),
        (("--suite", "cost", "--batches", "one"), ("batches = 'one'",)),
        (("--seqlen", "100000"), ("shorter than one window",)),
        (("--corpus", "self-generated"), ("written by a model",)),
        (("--model", "other"), ("given twice",)),
    ],
)
def test_bad_input(
    refused: Callable[..., str], words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    message = refused(*words)
    for part in parts:
        assert part in message


def test_what_a_suite_refuses_is_known_before_the_first_one_measures(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.evaluation.suites import lm

    assert "did you mean boolq" in refused("--suite", "tasks", "--tasks", "boolqq")
    dated = tmp_path / "dated.jsonl"
    dated.write_text("".join(json.dumps(item) + "\n" for item in DATED))

    def measured(*args: object, **kwargs: object) -> None:
        raise AssertionError("the suite lm was measured before the others were looked at")

    monkeypatch.setattr(lm, "evaluate_windows", measured)
    small = "lm:windows=2,seqlen=16"
    assert "did you mean boolq" in refused("--suite", f"{small},tasks", "--tasks", "boolqq")
    live = ("--suite", f"{small},live", "--live-file", str(dated))
    assert "no declared training cutoff" in refused(*live)
    assert "positions" in refused("--suite", f"{small},cost:prompt=100000")
    assert "made" in refused("--suite", f"{small},reasoning:items=500", "--generators", "digits")


def test_weights_in_bfloat16_are_another_protocol(evaluate: Callable[..., Record]) -> None:
    rows = [evaluate("--dtype", kind)["rows"][0] for kind in ("float32", "bfloat16")]
    assert [row["protocol"]["dtype"] for row in rows] == ["float32", "bfloat16"]
    assert rows[0]["value"] != rows[1]["value"]
    assert torch.tensor(rows[0]["value"]).isclose(torch.tensor(rows[1]["value"]), rtol=0.05)


def test_last_words_and_loops_through_the_command(
    evaluate: Callable[..., Record], tmp_path: Path
) -> None:
    filler = " ".join(f"word{letter}" for letter in "abcdefghijklmnopqrst" * 3)
    path = tmp_path / "stories.txt"
    story = "The fox of story {} " + filler + " ok. Then came a red fox."
    path.write_text("\n\n".join(story.format(n) for n in range(20)))
    words = ("--suite", "lm,lastword:items=3,degenerate:items=2,prompt=8", "--corpus", str(path))
    rows = by_name(evaluate(*words))
    for suite, metric, items in (("lastword", "accuracy", 3), ("degenerate", "degenerate", 2)):
        row = rows[suite, "stories.txt/sealed", metric]
        assert len(row["items"]) == items
        assert row["protocol"]["part"] == row["details"]["split"]["part"] == "sealed"
