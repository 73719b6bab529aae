"""``autoprune compare`` on a tiny random Llama: nothing twice, exact zeros, clear refusals."""

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
from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

from autoprune.text.wikipedia import sample_articles, sample_file
from flows.cli import main
from flows.cli.parser import parse
from flows.compare import compare
from flows.compare.params import CompareParams
from flows.params import checked
from flows.terminal import console
from flows.terminal.options import given
from tasks import compare as comparing
from tasks import compare_cells as cells
from tasks.mirror import tracker_of
from tasks.state import State
from tests.support import forked
from tests.support.command_line import CommandLine
from tests.support.held import hold
from tests.support.mlflow_runs import children_of
from tests.support.prefect_stack import until
from tests.support.small_comparison import LINE, Compared


def row(result: dict[str, Any], method: str, target: str = "50 %") -> dict[str, Any]:
    (found,) = [r for r in result["rows"] if (r["method"], r["target"]) == (method, target)]
    return dict(found)


def test_no_cell_is_measured_twice_and_a_new_method_costs_only_itself(compared: Compared) -> None:
    first = compared("wanda,wanda+mrp")
    assert (first["measured"], first["cached"]) == (5, 0)
    again = compared("wanda,wanda+mrp")
    assert (again["measured"], again["cached"]) == (0, 5)
    assert again["rows"] == first["rows"]
    more = compared("ria,wanda,wanda+mrp")
    assert (more["measured"], more["cached"]) == (2, 5)
    assert row(more, "wanda+mrp")["perplexity"] == row(first, "wanda+mrp")["perplexity"]
    # A third draw adds its own cells and leaves the others alone.
    third = compared("wanda", draws=3)
    assert (third["measured"], third["cached"]) == (1, 3)
    # Other sealed windows are another measurement.
    other = compared("wanda", sealed_windows=5)
    assert other["cached"] == 0
    assert (first["protocol"]["sealed_touches"], third["protocol"]["sealed_touches"]) == (5, 8)


def test_another_type_or_arithmetic_is_another_cell_and_shared_text_is_counted(
    compared: Compared, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nine words end every document, after one that it has alone: eight are shared, ten are not.
    planted = tmp_path / "planted.txt"
    documents = enumerate(text_file.read_text().split("\n\n"))
    planted.write_text("\n\n".join(f"{text} {n} k l m n o p q r s" for n, text in documents))
    small = {"draws": 1, "methods": "wanda", "corpus": str(planted)}

    first = compared(**small)
    pairs = first["protocol"]["overlap"]
    assert [(pair["first"], pair["second"]) for pair in pairs if pair["words"] == 8] == [
        ("calibration", "selection"), ("calibration", "sealed"), ("selection", "sealed"),
    ]  # fmt: skip
    assert {pair["words"] for pair in pairs if pair["shared"]} == {8}
    assert all(pair["shared"] == pair["checked"] > 0 for pair in pairs if pair["words"] == 8)

    half = compared(**small, dtype="bfloat16")
    assert (half["measured"], half["cached"]) == (2, 0)
    assert [r["protocol"]["dtype"] for r in (first, half)] == ["float32", "bfloat16"]
    assert half["folder"] != first["folder"]
    assert row(half, "wanda")["perplexity"] != row(first, "wanda")["perplexity"]
    assert ("numbers", "bfloat16 on cpu") in [
        (name, text.partition(",")[0]) for name, text in half["protocol_lines"]
    ]
    for module in (comparing, cells):
        monkeypatch.setattr(module, "computed_by", lambda: {"transformers": "another"})
    assert compared(**small)["cached"] == 0
    heard: list[str] = []
    monkeypatch.setattr(console.LogScreen, "event", lambda _, text: heard.append(text))
    crowded = compared(**small | {"calibration_windows": 200, "draws": 2})
    shown = "any two draws share 82 % of their windows on average"
    assert shown in "".join(heard) and shown in dict(crowded["protocol_lines"])["draws"]


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


def test_figures_do_not_depend_on_what_else_is_compared(
    compared: Compared, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "magnitude,gblm,sparsegpt,wanda+sdsa+mrp,wanda+sequential,wanda+owl,random"
    together = compared(methods)
    monkeypatch.setenv("AUTOPRUNE_HOME", str(home / "fresh"))
    for method in ("sparsegpt", "wanda+sdsa+mrp", "wanda+sequential", "wanda+owl", "random"):
        alone = row(compared(method), method)
        assert alone["perplexity"] == row(together, method)["perplexity"]
        assert alone["selection"] == row(together, method)["selection"]
    # Nothing of a magnitude mask depends on the draw; a random mask does.
    assert row(together, "magnitude")["deviation"] == 0
    assert row(together, "random")["deviation"] > 0
    assert row(together, "wanda+owl")["deviation"] > 0


def test_zeros_are_exact_for_shares_and_patterns(compared: Compared) -> None:
    methods = "wanda,wanda+ramp,wanda+mrp,sparsegpt,wanda+sequential"
    result = compared(methods, sparsity=[0.333, 0.7], pattern=["2:4", "1:4"], draws=1)
    total = result["protocol"]["prunable"]
    for found in result["rows"]:
        if found["pattern"] == "unstructured" or found["status"] == "ok":
            assert found["zeros"] == round(found["sparsity"] * total)
        else:
            assert found["method"] == "wanda+ramp" and "fixes the zeros" in found["reason"]
    assert {found["status"] for found in result["rows"]} == {"ok", "unavailable"}


def test_tuning_never_sees_the_seal_and_counts_its_trials(compared: Compared) -> None:
    result = compared("wanda,wanda+ramp,wanda+sdsa", draws=1, tune=3)
    # Dense, three methods; three trials each for the two strengths.
    assert result["measured"] == 4 + 6
    assert result["protocol"]["sealed_touches"] == 4
    assert {one["method"]: one["trials"] for one in result["rows"]} == {
        "wanda": 0, "wanda+ramp": 3, "wanda+sdsa": 3,
    }  # fmt: skip
    own = row(result, "wanda+ramp")
    fixed = compared(own["measured_as"], draws=1)
    assert fixed["measured"] == 0
    assert fixed["rows"][0]["perplexity"] == own["perplexity"]


def test_draws_differ_and_a_damaged_cell_is_named(compared: Compared, home: Path) -> None:
    result = compared("wanda", draws=3)
    assert len(set(result["protocol"]["draw_digests"])) == 3
    (first, *_) = sorted((home / "comparison" / "cells").glob("*/*.json"))
    body = json.loads(first.read_text())
    body["record"]["zeros"] += 1
    first.write_text(json.dumps(body))
    again = compared("wanda", draws=3)
    assert again["cached"] == 3
    text = json.dumps(again["rows"]) + json.dumps(again["overview"])
    assert "is damaged" in text or again["dense_perplexity"] is None


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


def test_the_seed_reaches_what_is_drawn_at_random(compared: Compared) -> None:
    found = {
        seed: row(compared("random", draws=1, seed=seed), "random")["perplexity"] for seed in (0, 1)
    }
    assert found[0] != found[1]
    # Seed 0 is that of earlier versions: its figures are found, not measured again.
    again = compared("random", draws=1)
    assert again["measured"] == 0 and row(again, "random")["perplexity"] == found[0]


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
    out, real = tmp_path / "out", cells._prune

    def stopped_after(finished: int) -> dict[str, Any]:
        seen: list[Any] = []

        def interrupted(*args: Any) -> Any:
            seen.append(args)
            if len(seen) > finished:
                raise KeyboardInterrupt
            return real(*args)

        monkeypatch.setattr(cells, "_prune", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compared("wanda,ria,wanda+mrp", draws=1, out=str(out))
        kept: dict[str, Any] = json.loads((out / "comparison.json").read_text())
        return kept

    assert stopped_after(0)["rows"] == []
    kept = stopped_after(2)
    assert [found["method"] for found in kept["rows"]] == ["wanda", "ria"]
    assert "unfinished: 2 of 3 cells so far" in (out / "comparison.md").read_text()
    # In MLflow it is a killed run, which the next one ends.
    client = tracker_of(State.open()).client
    place = [found.experiment_id for found in client.search_experiments()]
    (cut,) = client.search_runs(place, "tags.`autoprune.kind` = 'comparison'")
    assert cut.info.status == "KILLED" and cut.data.metrics["cells_finished_total"] == 2
    monkeypatch.setattr(cells, "_prune", real)
    result = compared("wanda,ria,wanda+mrp", draws=1, out=str(out))
    assert (result["measured"], result["cached"]) == (1, 3)
    assert result["mlflow_run"] == cut.info.run_id
    assert client.get_run(cut.info.run_id).info.status == "FINISHED"
    children = children_of(client, cut.info.run_id)
    assert [child.data.metrics["draws_total"] for child in children] == [1] * 3


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
