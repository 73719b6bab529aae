"""Stock lm-eval on local task files, without network: multiple choice and generation."""

import json
from pathlib import Path

import pytest

from autoprune.errors import UnknownNameError, UsageError
from autoprune.evaluation.suites import build_suite
from autoprune.evaluation.suites.comparison import ProtocolMismatchError, compare_rows
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.task_names import GROUPS, STUDY, UNAVAILABLE
from autoprune.evaluation.suites.task_rows import group_mean
from autoprune.evaluation.suites.tasks import TasksSuite
from tests.support.tiny_subject import broken_subject, tiny_subject
from tests.support.tiny_texts import with_beginning

QUESTIONS = [
    {"question": "The sky is", "choices": ["blue", "a tall cat"], "label": 0},
    {"question": "Water is", "choices": ["a dog", "wet"], "label": 1},
    {"question": "Grass is", "choices": ["green", "loud", "sour"], "label": 0},
    {"question": "Two and two make", "choices": ["five", "four"], "label": 1},
]
SHARED = """
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
    train: {data}
test_split: test
fewshot_split: train
doc_to_text: "{{{{question}}}}"
"""
CHOICE = """
task: local_choice
output_type: multiple_choice
doc_to_target: label
doc_to_choice: choices
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
GENERATION = """
task: local_generation
output_type: generate_until
doc_to_target: "{{{{choices[label]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4}}
metric_list: [{{metric: exact_match}}]
"""
FILTERS = """
filter_list:
  - {name: first, filter: [{function: regex, regex_pattern: "(.)"}, {function: take_first}]}
  - {name: whole, filter: [{function: take_first}]}
"""
GROUP = """
group: local_group
task: [local_choice, local_second]
aggregate_metric_list: [{{metric: acc, weight_by_size: {weighted}}}]
"""
BROKEN = """
task: local_broken
output_type: multiple_choice
doc_to_target: label
doc_to_choice: choices
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("tasks")
    data = path / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    for name, text in [("choice", CHOICE), ("generation", GENERATION), ("broken", BROKEN)]:
        there = path / "missing.jsonl" if name == "broken" else data
        (path / f"{name}.yaml").write_text((text + SHARED).format(data=there))
    return str(path)


def test_choice_and_generation(folder: str) -> None:
    subject = tiny_subject()
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    suite = TasksSuite(("local_choice", "local_generation"), folder)
    rows = {(row.name, row.metric): row for row in suite.run(subject)}
    assert rows.keys() == {
        ("local_choice", "acc"), ("local_choice", "acc_norm"), ("local_generation", "exact_match"),
    }  # fmt: skip
    for row in rows.values():
        assert row.status == "ok", row
        assert len(row.items) == 4
        assert row.protocol["shots"] == 0
        assert row.protocol["lm_eval"]
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
    accuracy = rows["local_choice", "acc"]
    assert accuracy.value == sum(accuracy.items) / 4
    assert subject.tokenizer.pad_token is None
    assert all(value.equal(before[name]) for name, value in subject.model.state_dict().items())


def test_figures_are_those_of_the_log_likelihoods(folder: str) -> None:
    import torch

    subject = tiny_subject()
    (accuracy, normed) = TasksSuite(("local_choice",), folder).run(subject)

    def score(question: str, choice: str) -> float:
        context = subject.tokenizer(question)["input_ids"]
        ids = torch.tensor([context + subject.tokenizer(" " + choice)["input_ids"]])
        with torch.inference_mode():
            logp = subject.model(ids).logits[0].float().log_softmax(-1)
        return sum(float(logp[i - 1, ids[0, i]]) for i in range(len(context), ids.shape[1]))

    for question, right, right_normed in zip(QUESTIONS, accuracy.items, normed.items, strict=True):
        choices: list[str] = question["choices"]  # type: ignore[assignment]
        scores = [score(str(question["question"]), choice) for choice in choices]
        by_length = [s / len(c) for s, c in zip(scores, choices, strict=True)]
        assert right == (scores.index(max(scores)) == question["label"])
        assert right_normed == (by_length.index(max(by_length)) == question["label"])


def test_shots_and_limit_belong_to_the_protocol(folder: str) -> None:
    subject = tiny_subject()
    plain = TasksSuite(("local_choice",), folder).run(subject)[0]
    shots = TasksSuite(("local_choice",), folder, shots=2, limit=3).run(subject)[0]
    assert (shots.protocol["shots"], shots.details["items"]) == (2, 3)
    with pytest.raises(ProtocolMismatchError, match="limit is None and 3; shots is 0 and 2"):
        compare_rows(plain, shots)
    assert compare_rows(plain, plain).difference == 0


def test_a_task_that_cannot_run_is_a_row_with_its_reason(folder: str) -> None:
    rows = TasksSuite(("local_broken", "local_choice", "boolq"), folder).run(tiny_subject())
    by_name = {row.name: row for row in rows}
    assert by_name["local_broken"].status == "unavailable"
    assert by_name["local_choice"].status == "ok"
    assert by_name["boolq"].status == "unavailable"
    assert by_name["boolq"].reason


def test_groups_resolve_and_report_what_is_lacking() -> None:
    assert {len(set(GROUPS[name])) for name in ("seven-rte", "seven-piqa")} == {7}
    rows = TasksSuite(("seven-rte", "seven-piqa"), limit=1).run(tiny_subject())
    assert [row.name for row in rows[-2:]] == ["seven-rte", "seven-piqa"]
    assert len(rows) == 8 + 2
    assert "boolq" in rows[-1].reason


def test_the_17_tasks_of_the_study_resolve_or_say_why_not() -> None:
    names = [task for group in STUDY.values() for task in group]
    assert len(set(names)) == 17
    rows = TasksSuite(tuple(STUDY), limit=1).run(tiny_subject())
    by_name = {row.name: row for row in rows}
    for name in names:
        # No data without a network, so here every row carries its reason.
        assert by_name[name].status == "ok" or by_name[name].reason, name
    for name in UNAVAILABLE:
        assert by_name[name].status == "unavailable"
    assert "code that the model writes" in by_name["humaneval"].reason
    assert "has no such task" in by_name["popqa"].reason


def test_every_study_task_that_is_not_refused_is_one_of_lm_eval() -> None:
    from autoprune.evaluation.suites.tasks import _stock_manager

    known = set(_stock_manager().all_tasks)
    wanted = {task for group in STUDY.values() for task in group} - set(UNAVAILABLE)
    assert len(wanted) == 12 and wanted <= known


def test_tasks_of_lm_eval_beside_those_of_a_folder_are_indexed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.evaluation.suites import tasks

    assert tasks._stock_manager().task_index["arc_easy"].yaml_path.parent != tmp_path
    indexed, made = [], tasks._task_manager

    def counted(folder: str | None, *, defaults: bool = True) -> object:
        indexed.append((folder, defaults))
        return made(folder, defaults=defaults)

    monkeypatch.setattr(tasks, "_task_manager", counted)
    for name in ("local_choice", "arc_easy"):
        text = (CHOICE.replace("local_choice", name) + SHARED).format(data="none")
        (tmp_path / f"{name}.yaml").write_text(text)
    manager = TasksSuite(("local_choice", "arc_easy", "piqa"), str(tmp_path))._manager()
    assert indexed == [(str(tmp_path), False)]
    assert {"local_choice", "arc_easy", "piqa"} <= set(manager.all_tasks)
    own = {name for name, entry in manager.task_index.items() if entry.yaml_path is not None
           and entry.yaml_path.parent == tmp_path}  # fmt: skip
    assert own == {"local_choice", "arc_easy"}
    assert "local_choice" not in tasks._stock_manager().task_index


def test_items_that_were_seen_are_dropped_counted_or_refused(folder: str, tmp_path: Path) -> None:
    from autoprune.evaluation.suites.cleaning import Resources
    from autoprune.text.hygiene import ContaminationError
    from autoprune.text.seen_text import SeenText

    long = {**QUESTIONS[0], "question": "one two three four five six seven eight nine the sky is"}
    data = tmp_path / "long.jsonl"
    data.write_text("".join(json.dumps(q) + "\n" for q in [*QUESTIONS, long]))
    own = tmp_path / "own"
    own.mkdir()
    text = CHOICE.replace("local_choice", "local_long") + SHARED
    (own / "long.yaml").write_text(text.format(data=data))
    suite, subject = TasksSuite(("local_long",), str(own)), tiny_subject()
    everything = suite.run(subject)[0]
    seen = SeenText.of(["zero one two three four five six seven eight ten"])
    dropped = suite.run(subject, resources=Resources(seen=seen))[0]
    assert dropped.items == everything.items[:4] and len(everything.items) == 5
    assert dropped.value == sum(dropped.items) / 4
    assert (dropped.details["overlap"]["dropped"], dropped.details["overlap"]["shared_10"]) == (
        1,
        0,
    )
    with pytest.raises(ProtocolMismatchError, match="data is"):
        compare_rows(everything, dropped)
    reported = suite.run(subject, resources=Resources(seen=seen, overlap="report"))[0]
    assert reported.items == everything.items and reported.details["overlap"]["contaminated"] == 1
    with pytest.raises(ContaminationError, match="1 of 5"):
        suite.run(subject, resources=Resources(seen=seen, overlap="refuse"))
    # A task of which nothing is left does not end the others.
    alone = tmp_path / "alone.jsonl"
    alone.write_text(json.dumps(long) + "\n")
    text = text.replace("local_long", "local_alone")
    (own / "alone.yaml").write_text(text.format(data=alone))
    both = TasksSuite(("local_alone", "local_long"), str(own))
    lacking, *others = both.run(subject, resources=Resources(seen=seen))
    assert lacking.value is None and "all 1 parts" in lacking.reason
    assert others[0].items == dropped.items


def test_a_document_counts_once_however_many_filters_read_its_answer(
    folder: str, tmp_path: Path
) -> None:
    from autoprune.evaluation.suites.cleaning import Resources
    from autoprune.text.seen_text import SeenText

    long = {**QUESTIONS[0], "question": "one two three four five six seven eight nine the sky is"}
    data = tmp_path / "long.jsonl"
    data.write_text("".join(json.dumps(q) + "\n" for q in [*QUESTIONS, long]))
    text = GENERATION.replace("local_generation", "local_filters") + SHARED
    (tmp_path / "filters.yaml").write_text(text.format(data=data) + FILTERS)
    seen = SeenText.of(["zero one two three four five six seven eight ten"])
    suite = TasksSuite(("local_filters",), str(tmp_path))
    rows = suite.run(tiny_subject(), resources=Resources(seen=seen))
    assert {row.protocol["filter"] for row in rows} == {"first", "whole"}
    for row in rows:
        overlap = row.details["overlap"]
        assert (overlap["checked"], overlap["contaminated"], overlap["dropped"]) == (5, 1, 1)
        assert len(row.items) == row.details["items"] == 4


def test_a_group_of_lm_eval_is_a_row_of_the_items_that_are_left(
    folder: str, tmp_path: Path
) -> None:
    from autoprune.evaluation.suites.cleaning import Resources
    from autoprune.text.seen_text import SeenText

    long = {**QUESTIONS[3], "question": "one two three four five six seven eight nine two and two"}
    data = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    data[0].write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS))
    data[1].write_text("".join(json.dumps(q) + "\n" for q in [long, QUESTIONS[0]]))
    for name, file in zip(("local_choice", "local_second"), data, strict=True):
        text = CHOICE.replace("local_choice", name) + SHARED
        (tmp_path / f"{name}.yaml").write_text(text.format(data=file))
    subject = tiny_subject()
    seen = Resources(seen=SeenText.of(["zero one two three four five six seven eight ten"]))
    for weighted in (True, False):
        (tmp_path / "group.yaml").write_text(GROUP.format(weighted=weighted))
        suite = TasksSuite(("local_group",), str(tmp_path))
        first, second, group = _accuracies(suite.run(subject))
        assert group.items == first.items + second.items and len(group.items) == 6
        parts = (first.value or 0.0, second.value or 0.0)
        shares = (4 / 6, 2 / 6) if weighted else (0.5, 0.5)
        wanted = sum(part * share for part, share in zip(parts, shares, strict=True))
        assert group.value == pytest.approx(wanted)
        assert compare_rows(group, group).items == 6
        *_, left = _accuracies(suite.run(subject, resources=seen))
        assert len(left.items) == 5
        with pytest.raises(ProtocolMismatchError, match="tasks_digest"):
            compare_rows(group, left)
    # A mean without a task of which nothing is left would be another group's.
    data[1].write_text(json.dumps(long) + "\n")
    (tmp_path / "group.yaml").write_text(GROUP.format(weighted=True).replace("acc,", "acc_norm,"))
    rows = TasksSuite(("local_group",), str(tmp_path)).run(subject, resources=seen)
    (group,) = [row for row in rows if (row.name, row.metric) == ("local_group", "acc_norm")]
    assert group.value is None and "no figure for local_second" in (group.reason or "")


def _accuracies(rows: list[Row]) -> list[Row]:
    found = [row for row in rows if row.metric == "acc"]
    assert [row.name for row in found] == ["local_choice", "local_second", "local_group"]
    return found


def test_our_groups_pair_the_items_of_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    context = RowContext("tasks", {}, {})
    monkeypatch.setitem(GROUPS, "two", ("a", "b"))  # type: ignore[arg-type]

    def mean(*scores: list[bool]) -> Row:
        rows = [
            context.accuracy(name, list(correct), metric="acc")
            for name, correct in zip("ab", scores, strict=True)
        ]
        return group_mean("two", rows, context)

    first, second = mean([True] * 9, [True, False]), mean([True] * 9, [False, False])
    assert (first.value, second.value) == (0.75, 0.5)
    assert compare_rows(first, second).difference == -0.25
    lacking = group_mean("two", [context.missing("a", "acc", "NaN", status="not_finite")], context)
    assert (lacking.status, lacking.reason) == ("not_finite", "no figure for a, b")


def test_numbers_that_break_off_in_the_middle_are_no_accuracy(folder: str) -> None:
    import torch

    subject, calls = tiny_subject(), []

    def overflow(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return output * (float("inf") if len(calls) > 2 else 1)

    subject.model.lm_head.register_forward_hook(overflow)
    (row,) = TasksSuite(("local_choice",), folder, batch=1).run(subject)
    assert (row.status, row.value) == ("not_finite", None) and len(calls) == 3
    assert not subject.model._forward_hooks


def test_unknown_task_is_refused_with_suggestions(folder: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean local_choice"):
        TasksSuite(("local_choic",), folder).run(tiny_subject())
    with pytest.raises(UnknownNameError, match="hellaswag"):
        TasksSuite(("helaswag",)).run(tiny_subject())
    with pytest.raises(UsageError, match="not a folder"):
        build_suite("tasks:folder=nowhere")


def test_broken_model_is_a_result(folder: str) -> None:
    (row,) = TasksSuite(("local_choice",), folder).run(broken_subject())
    assert (row.status, row.value) == ("not_finite", None)


def test_the_harness_begins_a_prompt_once() -> None:
    from autoprune.evaluation.suites.tasks import _wrap

    subject = tiny_subject()
    with_beginning(subject.tokenizer)
    model = _wrap(subject, 1)
    for prompt in ("a question", "<s>a question"):
        context, _ = model._encode_pair(prompt, " answer")
        assert context[0] == 0 and 0 not in context[1:]
