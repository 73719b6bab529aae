"""Files that the settings of a suite name, by what they hold."""

from pathlib import Path

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
