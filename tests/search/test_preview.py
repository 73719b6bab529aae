"""The next prompts can be seen without asking anyone, with ours or other templates."""

import json
from pathlib import Path

import pytest
from synthetic import Synthetic, drive, make_spec

from autoprune.design.prompts import Prompts
from autoprune.errors import UnknownNameError
from autoprune.search import Budget, DesignerSpec, Search
from autoprune.search.events import EventLog
from autoprune.search.search import LOG_FILE
from autoprune.search.steps import Done, Measure, Propose
from flows.cli import main


def test_preview_is_what_is_asked_next(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec()) as search:
        assert search.preview() == []
        shown = None
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Measure) and step.role == "candidate":
                break
            if isinstance(step, Propose) and shown is None:
                shown = search.preview()
                asked = [s.request for s in search.open_steps() if isinstance(s, Propose)]
                assert [preview.request for preview in shown] == asked
            search.record(step, driver.answer(step))
        before = (search.graph.digest, len(driver.asked), search.touches)
        coming = search.preview()
        assert coming == search.preview() and coming
        assert (search.graph.digest, len(driver.asked), search.touches) == before


def test_an_exploit_asks_for_one_part_and_fixes_the_rest(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=Budget(candidates=4))) as search:
        drive(search, Synthetic())
        found = {p.request.grammar.partition("\n")[0]: p for p in search.preview("exploit")}  # type: ignore[union-attr]
        lines = ("metric", "group", "allocation", "repair")
        for line in lines:
            roots = [root for root in found if f"{line}: " in root]
            assert len(roots) == 1
            assert not any(f"{other}: " in roots[0] for other in lines if other != line)
        metric = next(p for root, p in found.items() if "metric: " in root)
        assert "____" in metric.request.messages[-1].content
        with pytest.raises(UnknownNameError, match="exploit"):
            search.preview("exploid")


def test_no_designer_no_prompts(tmp_path: Path) -> None:
    spec = make_spec(designer=DesignerSpec(kind="genetic"), budget=Budget(candidates=2))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        assert search.preview() == []


def test_own_templates_stay_with_the_search(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "operators").mkdir(parents=True)
    (own / "operators" / "seed.j2").write_text("Beat {{ reference }} now!")
    (own / "notes.txt").write_text("not a template")
    spec = make_spec(budget=Budget(candidates=2))
    with Search.open(tmp_path / "run", spec, prompts=own) as search:
        digest = search.prompts.digest
        (own / "operators" / "seed.j2").write_text("changed")
        assert search.prompts.digest == digest
    with Search.open(tmp_path / "run") as again:
        assert again.prompts.digest == digest != Prompts().digest
        drive(again, Synthetic())
        asked = [h["step"] for h in again.history() if h["step"]["kind"] == "Propose"]
        assert any("Beat wanda now!" in s["request"]["messages"][1]["content"] for s in asked)
    assert not (tmp_path / "run" / "prompts" / "notes.txt").exists()


def test_a_start_that_was_killed_copies_again(tmp_path: Path) -> None:
    own, kept = tmp_path / "own", tmp_path / "run" / "prompts"
    for folder, name in ((own, "user.j2"), (kept, "system.j2")):
        folder.mkdir(parents=True)
        (folder / name).write_text("{{ instruction }}")
    # Killed between the copy and the first event.
    EventLog(tmp_path / "run" / LOG_FILE).close()
    with Search.open(tmp_path / "run", make_spec(), prompts=own) as search:
        digest = search.prompts.digest
    assert [path.name for path in kept.iterdir()] == ["user.j2"]
    with Search.open(tmp_path / "run") as again:
        assert again.prompts.digest == digest


def test_command_renders_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path))
    with Search.open(tmp_path / "runs" / "tiny", make_spec()) as search:
        drive(search, Synthetic())
    assert main(["design", "render", "tiny", "--operator", "exploit", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["templates"] == Prompts().digest
    assert {prompt["operator"] for prompt in record["prompts"]} == {"exploit"}
    assert all(prompt["tokens"] <= 640 for prompt in record["prompts"])
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "explore.j2").write_text("Surprise me.")
    words = ["design", "render", "tiny", "--operator", "explore", "--prompts", str(tmp_path)]
    assert main([*words, "--grammar"]) == 0
    shown = capsys.readouterr().out
    assert "Surprise me." in shown and "[grammar]\nroot ::=" in shown
