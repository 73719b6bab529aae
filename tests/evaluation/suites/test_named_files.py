"""Files that the settings of a suite name, by what they hold."""

from pathlib import Path

import pytest

from autoprune.evaluation.suites.named_files import digests_of_files


def test_a_folder_counts_by_all_files_but_weights(tmp_path: Path) -> None:
    tasks, text = tmp_path / "tasks", tmp_path / "text.txt"
    tasks.mkdir()
    text.write_text("words")
    # The compared text itself is in every key by its windows.
    assert digests_of_files({"corpora": [str(text)]}, (str(text),)) == []
    assert digests_of_files({"folder": str(tasks), "live": ""}) == []
    (tasks / "own.yaml").write_text("task: own")
    (tasks / "own.jsonl").write_text("{}")
    (tasks / "w.safetensors").write_text("{}")
    before = digests_of_files({"folder": str(tasks)})
    (tasks / "own.jsonl").write_text('{"text": "a"}')
    assert len(before) == 2 and digests_of_files({"folder": str(tasks)}) != before


def test_what_a_task_file_names_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks, data = tmp_path / "tasks", tmp_path / "data.jsonl"
    tasks.mkdir()
    (tasks / "own.yaml").write_text("include: ../tasks/shared.yaml\ntask: own\n")
    (tasks / "shared.yaml").write_text(
        "include: ../tasks/own.yaml\nprocess: !function code.py\n"
        "dataset_kwargs: {data_files: {test: data.jsonl}}\n"
    )
    data.write_text("{}")
    for names in ({"folder": "tasks"}, {"names": ["tasks/own.yaml"]}):
        before = digests_of_files(names)
        data.write_text(data.read_text() + "\n")
        assert len(before) == 3 and digests_of_files(names) != before
