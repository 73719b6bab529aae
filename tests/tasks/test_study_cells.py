"""Which suites of a study are the same measurement."""

from pathlib import Path
from typing import Any

import pytest

from autoprune.study import cells
from autoprune.study.cells import Subject, cell_digest, versions_of
from tasks.study_cells import with_contents
from tasks.study_record import subject_parts

LACKING = {"status": "unavailable", "reason": "no room"}


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


def test_other_versions_are_other_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(suite: str) -> str:
        subject = Subject("model", "wanda", 0.5, "generic")
        return cell_digest(subject, "ab", {}, {"name": suite}, "", versions_of(suite))

    before = {suite: digest(suite) for suite in ("lm", "tasks")}
    assert before == {suite: digest(suite) for suite in before}
    real = cells.version
    for package in ("torch", "transformers", "lm_eval"):

        def version(name: str, changed: str = package) -> str:
            return "9" if name == changed else real(name)

        monkeypatch.setattr(cells, "version", version)
        found = {suite for suite in before if digest(suite) != before[suite]}
        assert found == ({"tasks"} if package == "lm_eval" else {"lm", "tasks"}), package
    monkeypatch.setattr(cells, "version", real)
    monkeypatch.setattr(cells, "__version__", "9")
    assert all(digest(suite) != before[suite] for suite in before)


def test_a_pruned_model_is_one_part_with_the_figures_of_all_its_suites() -> None:
    def cell(scheme: str, suite: str, value: float | None) -> dict[str, Any]:
        row = {"suite": suite, "name": "n", "metric": "m", "value": value, "protocol": {},
               "interval": [1.0, 3.0] if value else None}  # fmt: skip
        state = {"status": "ok", "reason": ""} if value else LACKING
        return {"model": "a/b", "scheme": scheme, "ratio": 0.5, "policy": "generic", "rows": [row],
                "suite": suite, "id": f"{scheme}{suite}", **state}  # fmt: skip

    first, second = subject_parts(
        [cell("wanda", "lm", 2.0), cell("wanda", "tasks", None), cell("ria", "lm", None)]
    )
    assert first.params == {"model": "a/b", "scheme": "wanda", "ratio": 0.5, "policy": "generic"}
    assert first.metrics == {"lm/n/m": 2.0, "lm/n/m low": 1.0, "lm/n/m high": 3.0}
    assert first.tags["autoprune.status"] == "partly"
    assert first.tags["unavailable.tasks"] == "no room"
    assert (second.metrics, second.tags["autoprune.status"]) == ({}, "unavailable")
