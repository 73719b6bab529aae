"""``autoprune compare`` on a tiny random Llama: what it prints, counts, refuses and leaves."""

import json
import os
import shlex
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

from autoprune.text.wikipedia import sample_articles, sample_file
from flows.cli import main
from flows.cli.parser import parse
from flows.compare import compare
from flows.compare.params import CompareParams
from flows.params import checked
from flows.terminal import console
from flows.terminal.options import given
from tasks.compare_bench import CompareBench
from tasks.state import State
from tasks.track import Tracker
from tests.support import forked
from tests.support.command_line import CommandLine
from tests.support.held import hold
from tests.support.mlflow_runs import children_of
from tests.support.prefect_stack import until
from tests.support.small_comparison import LINE, Compared


def row(result: dict[str, Any], method: str, target: str = "50 %") -> dict[str, Any]:
    (found,) = [r for r in result["rows"] if (r["method"], r["target"]) == (method, target)]
    return dict(found)


def test_the_record_holds_the_line_that_repeats_it() -> None:
    params = CompareParams(
        model="my model", methods="wanda,expr:(abs(W) * x_norm)", sparsity=[0.5, 0.55],
        pattern=["2:4"], selection_windows=9, seed=3, dtype="bfloat16", out="here",
    )  # fmt: skip
    line = params.command()
    assert "here" not in line and line.startswith("autoprune compare 'my model' --methods ")
    fields = given(parse(shlex.split(line)[1:]), CompareParams)
    assert checked(CompareParams, fields).settings() == params.settings()
    assert CompareParams(model="m").command() == "autoprune compare m"
    with_peer = CompareParams(model="m", peer="/opt/env/bin/python")
    assert with_peer.command() == "autoprune compare m --peer PYTHON"


def test_another_type_has_a_folder_of_its_own_and_common_draws_are_warned_of(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"draws": 1, "methods": "magnitude"}
    half = compared(**small, dtype="bfloat16")
    assert half["protocol"]["dtype"] == "bfloat16"
    heard: list[str] = []
    monkeypatch.setattr(console.LogScreen, "event", lambda _, text: heard.append(text))
    crowded = compared(**small | {"calibration_windows": 200, "draws": 2})
    assert half["folder"] != crowded["folder"]
    shown = "any two draws share 87 % of their windows on average"
    assert shown in "".join(heard) and shown in dict(crowded["protocol_lines"])["draws"]


def test_lines_on_the_way_show_no_sealed_figure(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(console.LogScreen, "event", lambda _, text: heard.append(text))
    rows = compared(draws=1, methods="wanda,ria+ramp")["rows"]
    assert len(rows) == 2
    for found in rows:
        (line,) = [line for line in heard if f"] {found['method']} at 50 %, seed 0: " in line]
        assert f": selection perplexity {found['selection']:.2f} (" in line
        assert f" {found['perplexity']:.2f}" not in line


def test_all_commands_count_looks_in_one_ledger(compared: Compared, cli: CommandLine) -> None:
    def evaluated(words: str = "--part sealed --measured-windows 3") -> list[int]:
        line = f"evaluate MODEL --corpus TEXT --seqlen 32 {words}"
        return list(cli.record(line)["sealed_touches"].values())

    assert evaluated() == [1]
    result = compared(draws=1)
    assert (result["measured"], result["protocol"]["sealed_touches"]) == (2, 3)
    assert evaluated("--part sealed --measured-windows 4") == [4]
    # The whole text is a look at its sealed part, and says so to whoever compares next.
    assert evaluated("--part all --measured-windows 3") == [5]
    assert compared(draws=1)["protocol"]["sealed_touches"] == 5


def test_the_command_prints_the_table_and_writes_every_form(
    cli: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = f"{LINE} --draws 1 --metrics wanda,ria --allocations uniform,ramp --sparsity 0.5,0.6"
    printed = cli(f"{line} --out {out}").out
    assert all(name in printed for name in ("wanda+ramp", "ria+ramp", "60 %", "At 50 % take"))
    kinds = [".json", ".md", ".parquet", ".png", ".tex"]
    assert sorted(path.suffix for path in out.iterdir()) == kinds
    record = cli.record(line)
    assert record["measured"] == 0 and len(record["rows"]) == 8
    assert record["command"].startswith(f"autoprune compare {cli.places['MODEL']} --metrics wanda")
    assert record["command"] in (out / "comparison.md").read_text()
    assert record["protocol"]["commit"] in (*record["commits"], None)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ("--methods wanda,wandaa", "did you mean wanda"),
        ("--methods wanda+rampe", "did you mean ramp"),
        ("--methods wanda --sparsity 0.5,1.5", "outside 0 ≤ s < 1"),
        ("--methods wanda --sparsity 50", "0.5 for 50 %"),
        ("--methods wanda --pattern 2:5", "not a multiple of 5"),
        ("--methods wanda --pattern 4:2", "is not possible"),
        ("--methods wanda --preset paper", "not both"),
        ("--allocations ramp", "needs --metrics"),
        ("--methods wanda --tune 99", "less than or equal to 6"),
        ("--methods wanda --selection-windows 4000", "lower --selection-windows or --seq"),
        ("--methods wanda --calibration-windows 9000", "lower --calibration-windows or --seqlen"),
        ("--methods wanda --calibration-windows 229 --draws 3", "3 draws would be the same"),
        ("--methods wanda --seqlen 99999", "shorter than one window"),
        ("--methods wanda --corpus self-generated", "written by the model itself"),
        ("--methods wanda --corpus wikipeda-sample", "did you mean wikipedia-sample"),
        # Known before the first one is measured.
        ("--methods wanda --suite reasoning:items=500,generators=digits", "500 were asked"),
        ("--methods wanda --calibration-text own", "calibration_text"),
        ("--calibration-text a=x.txt --calibration-text a=y.txt", "one name"),
        ("--calibration-text a=wikipedia-simple", "did you mean wikipedia-sample"),
        ("--methods wanda@own", "add --calibration-text own=REF"),
        ("--methods wnda@own --calibration-text own=self-generated", "mean wanda"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    cli: CommandLine, home: Path, more: str, shown: str
) -> None:
    cli.refuses(f"{LINE} --draws 1 {more}", shown)
    assert not (home / "comparison").exists()


def test_a_comparison_without_a_figure_ends_with_code_3(cli: CommandLine) -> None:
    record = cli.record(f"{LINE} --methods llm-compressor:wanda --sparsity 0.5 --draws 1", code=3)
    assert record["recommendation"] and not record["recommendation"][0]["method"]


def test_a_model_without_blocks_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    config = MambaConfig(
        vocab_size=258, hidden_size=16, state_size=4, num_hidden_layers=0, intermediate_size=32
    )
    MambaForCausalLM(config).save_pretrained(tmp_path / "blockless")
    tokenizer = AutoTokenizer.from_pretrained(cli.places["MODEL"])
    tokenizer.save_pretrained(tmp_path / "blockless")
    cli.places["MODEL"] = tmp_path / "blockless"
    cli.refuses(f"{LINE} --methods wanda", "no list of blocks")


def test_a_killed_run_goes_on_where_it_stopped(
    cli: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a second draw, when the dense model and the first draw of all are on record.
    held = hold(tmp_path / "held", monkeypatch, free=14)
    line = f"{LINE} --methods wanda,ria,wanda+mrp,held --draws 3 --sparsity 0.5"

    def work() -> None:
        torch.set_num_threads(1)
        os.environ.update(held.environment)
        main(cli.words(line))

    run = forked.start(work)
    try:
        until(lambda: held.reached, 200, "measurement that is held")
    finally:
        os.kill(run, signal.SIGKILL)
        assert forked.ended(run) == -signal.SIGKILL
    before = len([*(home / "comparison" / "cells").glob("*/[0-9a-f]*.json")])
    assert 5 <= before < 13
    record = cli.record(line)
    assert record["cached"] == before and record["measured"] == 13 - before


def test_an_interrupt_leaves_a_table_of_what_is_finished(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "out", CompareBench.prune_by

    def stopped_after(finished: int) -> dict[str, Any]:
        seen: list[Any] = []

        def interrupted(*args: Any) -> Any:
            seen.append(args)
            if len(seen) > finished:
                raise KeyboardInterrupt
            return real(*args)

        monkeypatch.setattr(CompareBench, "prune_by", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compared("wanda,ria,wanda+mrp", draws=1, out=str(out))
        kept: dict[str, Any] = json.loads((out / "comparison.json").read_text())
        return kept

    assert stopped_after(0)["rows"] == []
    kept = stopped_after(2)
    assert [found["method"] for found in kept["rows"]] == ["wanda", "ria"]
    assert "unfinished: 2 of 3 cells so far" in (out / "comparison.md").read_text()
    # In MLflow it is a killed run, which the next one ends.
    client = Tracker(State.open()).client
    place = [found.experiment_id for found in client.search_experiments()]
    (cut,) = client.search_runs(place, "tags.`autoprune.kind` = 'comparison'")
    assert cut.info.status == "KILLED" and cut.data.metrics["cells_finished_total"] == 2
    monkeypatch.setattr(CompareBench, "prune_by", real)
    result = compared("wanda,ria,wanda+mrp", draws=1, out=str(out))
    assert (result["measured"], result["cached"]) == (1, 3)
    assert result["mlflow_run"] == cut.info.run_id
    assert client.get_run(cut.info.run_id).info.status == "FINISHED"
    children = children_of(client, cut.info.run_id)
    assert [child.data.metrics["draws_total"] for child in children] == [1] * 3


def test_suites_are_of_the_compared_text_unless_they_name_another(compared: Compared) -> None:
    first = compared("wanda", suite="lm", draws=1)
    (found,) = first["rows"][0]["measures"]
    assert (found["column"], found["items"]) == ("KL to dense", 4)
    again = compared("wanda", suite="lm", draws=1)
    assert (again["measured"], again["rows"]) == (0, first["rows"])


@pytest.mark.parametrize(
    ("timed", "shown"),
    [
        ({"suite": "cost:batches=1,prompt=8,new=2,repeats=1"}, "workers of dask would share it"),
        ({"faster": [1.2, 1.5]}, r"faster 1.2,1.5 is timed .* workers of dask"),
    ],
)
def test_nothing_is_timed_beside_workers(timed: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValidationError, match=shown):
        CompareParams.model_validate({**timed, "runner": "dask", "workers": 2})


def test_options_that_came_later_leave_names_of_folders_alone() -> None:
    plain = CompareParams(model="m", methods="wanda")
    later = {"baseline", "suite", "precision", "record", "calibration_text"}
    assert not later & plain.settings().keys()
    for change in ({"baseline": ["dense"]}, {"suite": "lm"}, {"precision": "float32"}):
        other = CompareParams(model="m", methods="wanda", **change)
        assert other.folder_name() != plain.folder_name()
    assert CompareParams(model="m", methods="wanda", record="r").folder_name() == (
        plain.folder_name()
    )
    exact = CompareParams(model="m", precision="float32")
    assert "--precision float32" in exact.command() and "--precision" not in plain.command()
    line = CompareParams(model="m", baseline=["a+b", "dense"]).command()
    assert line == "autoprune compare m --baseline a+b --baseline dense"


def test_a_missing_peer_is_a_row_with_the_install_command(compared: Compared) -> None:
    for peer, shown in (
        ("llm-compressor", "runs in an environment of its own"),
        ("nowhere/bin/python", "there is no interpreter nowhere/bin/python"),
        (f"llm-compressor={sys.executable}", "has no llm-compressor"),
    ):
        result = compared(draws=1, peer=peer)
        for name in ("llm-compressor:wanda", "llm-compressor:sparsegpt"):
            found = row(result, name)
            assert found["status"] == "unavailable" and shown in found["reason"]
            assert "-m pip install 'llmcompressor==0.14.*'" in found["reason"]
        assert row(result, "wanda")["status"] == "ok"


@pytest.mark.demo
def test_on_the_real_model_wanda_beats_magnitude(home: Path, tmp_path: Path) -> None:
    # Stripping the markup of the whole sample would take longer than comparing.
    text = tmp_path / "articles.txt"
    text.write_text("\n\n".join(islice(sample_articles(sample_file()), 3)), encoding="utf-8")
    changes: dict[str, Any] = {"methods": "magnitude,wanda", "sparsity": [0.5], "draws": 1}
    changes["corpus"] = str(text)
    small = {"calibration_windows": 4, "seqlen": 128, "selection_windows": 2, "sealed_windows": 3}
    result = compare.fn(CompareParams(**changes, **small, out=str(tmp_path / "out")))
    wanda, magnitude = row(result, "wanda"), row(result, "magnitude")
    assert result["dense_perplexity"] < wanda["perplexity"] < magnitude["perplexity"]
    assert wanda["zeros"] == magnitude["zeros"] == 53_084_160
    assert result["recommendation"][0]["method"] == "wanda"
