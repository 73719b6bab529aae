"""Which suites of a study are the same measurement."""

from pathlib import Path

from tasks.study import with_contents


def test_a_suite_is_another_when_a_file_that_it_names_has_changed(tmp_path: Path) -> None:
    text, tasks = tmp_path / "test.txt", tmp_path / "tasks"
    text.write_text("first")
    tasks.mkdir()
    settings = {"corpora": ["wikipedia-sample", str(text)], "folder": str(tasks), "windows": 4}
    suite = {"name": "lm", "settings": {**settings, "dense": None}}
    first = with_contents(suite)
    assert first["settings"] == suite["settings"] and with_contents(suite) == first
    text.write_text("second")
    second = with_contents(suite)
    assert second != first
    (tasks / "own.yaml").write_text("task: own")
    assert with_contents(suite) != second


def test_a_suite_without_files_stays_as_it_is() -> None:
    suite = {"name": "lm", "settings": {"corpora": ["wikipedia-sample"], "live": ""}}
    assert with_contents(suite) is suite
