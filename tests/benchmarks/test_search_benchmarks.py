"""The benchmarks of the search on a tiny model: cells resume, tables come out, figures agree."""

import gzip
import json
import math
import shutil
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy
import pytest

from autoprune.bench import bench as benches
from autoprune.candidate import Candidate
from autoprune.comparison.formatting import p_value
from autoprune.design.chat import Reply
from autoprune.pruning import PruningPlan
from autoprune.recipe import Recipe
from autoprune.search import Search
from autoprune.search.moves import recipe_key
from autoprune.search.spec import DesignerSpec, SearchBudget, SearchSpec
from autoprune.search.steps import Propose
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from benchmarks import arms, arms_table, found_recipe, searching, table
from benchmarks.evidence.derivations import DERIVATIONS
from benchmarks.evidence.figures import figures_of
from benchmarks.evidence.records import EvidenceError, read_record, read_searches
from benchmarks.measured import ROOT
from tasks.sealed_looks import count_looks
from tasks.state import State
from tests.support.small_search import SIZES


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    monkeypatch.setattr(table, "OUT", folder)
    monkeypatch.setattr(arms, "OUT", folder)
    return folder


def spec(model: Path, text: Path, **changes: object) -> SearchSpec:
    values: dict[str, object] = {
        "model": str(model),
        "corpus": str(text),
        "designer": DesignerSpec(kind="scripted"),
        "budget": SearchBudget(candidates=5),
        **SIZES,
        "repair_choices": ("none", "sparsegpt"),
        "fitness": "both",
        "also_sparsities": (0.5,),
        "draws": 2,
    }
    return SearchSpec(**{**values, **changes})  # type: ignore[arg-type]


def test_a_search_with_every_option_measures_what_it_says(
    home: Path, tiny_folder: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired = []
    original = benches.repair_masks

    def counted(model: Any, masks: Any, plan: PruningPlan, **rest: Any) -> Any:
        repaired.append(plan.repair.text)
        return original(model, masks, plan, **rest)

    monkeypatch.setattr(benches, "repair_masks", counted)

    def ask(step: Propose) -> Reply:
        part = {"allocation": "formula:0.05 * depth", "repair": "sparsegpt"}
        lines = [f"{key}: {value}" for key, value in part.items()]
        return Reply("\n".join(["metric: abs(W) * x_norm ** 0.7", "group: row", *lines]))

    wanted = spec(tiny_folder, text_file)
    sealed = split(load_corpus(str(text_file)), wanted.text_split).sealed.digest
    found = searching.run_search(home / "cell", wanted, ask=ask)
    assert count_looks(State.open(), sealed) == 1
    with Search.open(home / "cell") as search:
        entries = {e.alias: e for e in search.entries}
        made = entries["wanda+ramp+sparsegpt"]
        assert made.whole is not None and len(made.whole.kl) == 4
        assert all(value > 0 for value in made.whole.kl)
        reference = entries["wanda"]
        best = search.best
        # Its allocation alone helps this model by more than the machine's arithmetic changes.
        assert best is not None and best.alias != reference.alias
        assert best.elsewhere[0.5].sparsity == pytest.approx(0.5, abs=1e-4)
        assert reference.elsewhere[0.5].perplexity != reference.results[2].perplexity
        assert best.draws[1].perplexity != best.results[2].perplexity
        designed = [e for e in search.entries if e.operator == "seed"]
        assert designed[0].recipe is not None
        assert designed[0].recipe.allocation == "formula:0.05 * depth"
        assert designed[0].proxied
    assert found["answers"] >= 1
    # Seal asks for repaired recipes again; what was repaired once is remembered.
    assert "sparsegpt" in repaired
    count = len(repaired)
    again = searching.run_search(home / "cell", wanted, ask=ask)
    assert again == found and len(repaired) == count
    assert count_looks(State.open(), sealed) == 1


def test_arms_run_missing_cells_only(
    home: Path,
    tiny_folder: Path,
    text_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    words = ["--arms", "genetic", "random", "--seeds", "0", "1", "--evaluations", "2"]
    words += ["--model", str(tiny_folder), "--corpus", str(text_file), "--calibration-windows", "4"]
    words += ["--seqlen", "48", "--selection-windows", "6", "--repairs", "none"]
    words += ["--folder", str(tmp_path / "cells")]
    monkeypatch.setattr(sys, "argv", ["arms", *words])
    arms.main()
    record = json.loads((out / "arms.json").read_text())
    assert [row["arm"] for row in record["rows"]] == ["genetic", "random"]
    assert len(record["runs"]) == 4
    assert all(run["evaluations"] == 2 and len(run["curve"]) == 3 for run in record["runs"])
    assert (out / "arms.png").stat().st_size > 5000
    assert all(Recipe.from_json(r["recipe"]) for r in record["runs"] if r["recipe"])
    for made in record["runs"]:
        starts = made["starts"]
        assert {"wanda", "magnitude"} <= {*starts} and len(starts) > 2
        assert starts["wanda"]["sealed_nll"] == made["reference_nll"]
        assert all(Recipe.from_json(start["recipe"]) for start in starts.values())
        assert all(start["sealed"] is not None for start in starts.values())
    monkeypatch.setattr(searching, "_work", None)
    arms.main()
    assert json.loads((out / "arms.json").read_text())["runs"] == record["runs"]
    # A cell that was cut off is not gone on with where nothing is to run.
    (tmp_path / "cells" / "random-1" / "search.db").unlink()
    Search.open(tmp_path / "cells" / "random-1", spec(tiny_folder, text_file)).close()
    monkeypatch.setattr(sys, "argv", ["arms", *words, "--only-read"])
    arms.main()
    assert json.loads((out / "arms.json").read_text())["runs"] == record["runs"][:3]
    # Nor is one waited for that another process has open.
    with Search.open(tmp_path / "cells" / "random-0"):
        arms.main()
    left = [run for run in record["runs"][:3] if (run["arm"], run["seed"]) != ("random", 0)]
    assert json.loads((out / "arms.json").read_text())["runs"] == left
    # Kept as a record: the same table without the searches, their logs beside it.
    kept, folders = tmp_path / "kept", [str(tmp_path / "cells" / f"random-{n}") for n in (0,)]
    folders.append(str(tmp_path / "cells" / "genetic-0"))
    options = ["--subject", "genetic", "--rivals", "random"]
    monkeypatch.setattr(sys, "argv", ["arms", *options, "--runs", *folders, "--record", str(kept)])
    arms.main()
    first = json.loads((out / "arms.json").read_text())
    shutil.rmtree(tmp_path / "cells")
    monkeypatch.setattr(sys, "argv", ["arms", *options, "--from", str(kept)])
    arms.main()
    again = json.loads((out / "arms.json").read_text())
    assert again["rows"] == first["rows"] and again["runs"] == first["runs"]
    body = json.loads((kept / "record.json").read_text())
    assert not any(folder in json.dumps(body) for folder in folders)
    log = gzip.decompress((kept / "logs" / "random-0.jsonl.gz").read_bytes()).decode()
    assert json.loads(log.splitlines()[0])["kind"] == "opened" and log.count('"Seal"') == 1
    figures = [("arm ratio", {"arm": "genetic"}), ("arm p", {"arm": "genetic", "rival": "random"})]
    value = {"arm ratio": math.exp(math.log(arms_table.ratio(again["runs"][1], "sealed") or 0))}
    declared = [
        {
            "name": kind, "derivation": kind, "of": {**of, "rivals": ["random"]},
            "value": value.get(kind, 1.0), "text": f"{value.get(kind, 1.0):.3f}",
        }
        for kind, of in figures
    ]  # fmt: skip
    (kept / "figures.json").write_text(json.dumps({"figures": declared}))
    assert [f.name for f in figures_of(read_record(kept))] == ["arm ratio", "arm p"]
    assert read_searches(kept, ROOT / "evidence" / "discovery").keys() > {("genetic", 0)}
    with pytest.raises(EvidenceError, match="another search of random with seed 0"):
        read_searches(kept, kept)
    (kept / "logs" / "random-0.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(EvidenceError, match="not what was recorded"):
        read_record(kept)


def test_arms_evolve_rates_at_equal_evaluations(
    home: Path,
    tiny_folder: Path,
    text_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    words = ["--arms", "list", "genetic", "random", "--seeds", "0", "--evaluations", "2"]
    words += ["--subject", "list", "--schemes", "width", "width:rates=ramp", "--sparsity", "0.3"]
    words += ["--model", str(tiny_folder), "--corpus", str(text_file), "--calibration-windows", "4"]
    words += ["--seqlen", "48", "--selection-windows", "6", "--folder", str(tmp_path / "cells")]
    words += ["--designer", "scripted"]
    answers = iter(f"because: x\nscheme: width:rates=ramp:half_width=0.{n}" for n in range(11, 99))
    monkeypatch.setattr(searching.DesignerSession, "answer", lambda *_: Reply(next(answers)))
    monkeypatch.setattr(sys, "argv", ["arms", *words])
    arms.main()
    record = json.loads((out / "arms.json").read_text())
    assert [run["arm"] for run in record["runs"]] == ["list", "genetic", "random"]
    for run in record["runs"]:
        assert run["evaluations"] == 2 and run["reference"] == "width"
        assert run["recipe"]["metric"]["kind"] == "scheme" and run["recipe"]["solver"] == "none"
    assert "selection / width" in record["rows"][0]


def test_known_figures_are_those_of_the_same_calibration(tmp_path: Path) -> None:
    made = SearchSpec(model="m", corpus="c")
    known = found_recipe.Known(tmp_path / "runs.jsonl", found_recipe.conditions(made))
    known.put(12.5, "wanda", "sealed")
    for change, figure in (({}, 12.5), ({"calibration_windows": 3}, None), ({"seqlen": 64}, None)):
        where = found_recipe.conditions(made.model_copy(update=change))
        assert found_recipe.Known(known.path, where).get("wanda", "sealed") == figure
    # A line that a kill cut off is lost, and nothing else.
    with known.path.open("a") as file:
        file.write('["abc", 1')
    again = found_recipe.Known(known.path, known.where)
    again.put(3.5, "ria", "sealed")
    last = found_recipe.Known(known.path, known.where)
    assert (last.get("wanda", "sealed"), last.get("ria", "sealed")) == (12.5, 3.5)


def test_a_search_that_judged_is_an_arm_of_its_own(
    home: Path, tiny_folder: Path, text_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain: dict[str, object] = {"arm": "genetic", "designer": DesignerSpec()}
    for judge in ("on", "off"):
        wanted = spec(tiny_folder, text_file, judge=judge, **plain)
        searching.run_search(home / judge, wanted)
    kept = home / "kept"
    words = ["--runs", str(home / "on"), str(home / "off"), "--record", str(kept)]
    words += ["--subject", "genetic+judge", "--rivals", "genetic"]
    monkeypatch.setattr(sys, "argv", ["arms", *words])
    arms.main()
    rows = json.loads((out / "arms.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == ["genetic", "genetic+judge"]
    record = read_record(kept)
    judged = record.searches["genetic+judge", wanted.seed]
    assert "judging" not in record.searches["genetic", wanted.seed]
    of = {"arm": "genetic+judge", "rival": "genetic", "rivals": ["genetic"]}
    change = DERIVATIONS["arm change"](record, of)
    assert change == pytest.approx(
        100 * (judged["sealed"] / record.searches["genetic", wanted.seed]["sealed"] - 1)
    )
    for field, value in (("evaluations", judged["evaluations"]), ("judging.skipped", 0)):
        assert DERIVATIONS["arm sum"](record, {**of, "field": field}) == value
    with pytest.raises(EvidenceError, match=r"has no search of the arm tuned\+judge"):
        DERIVATIONS["arm sum"](record, {"arm": "tuned+judge", "field": "evaluations"})


def cell(sealed: float | None, curve: tuple[float, ...] = (0.0,), **more: Any) -> dict[str, Any]:
    return {
        "reference_sealed": 80.0, "reference_selection": 80.0,
        "sealed": sealed, "selection": sealed,
        "best": "C1", "curve": list(curve), "evaluations": len(curve) - 1, "breakthroughs": 1,
        "duplicates": 0, "rejected": 0, "tokens": 5, "seconds": 2.0, "forecasts": None, **more,
    }  # fmt: skip


def test_contrasts_are_paired_by_seed_and_corrected_over_the_rivals_alone() -> None:
    figures = {
        "graph": (60.0, 61.0, 62.0), "best-of-n": (66.0, 66.0, 68.0),
        "genetic": (70.0, 70.0, 70.0), "tuned": (60.0, 60.5, 62.5), "random": (80.0, 79.0, 80.0),
    }  # fmt: skip
    cells = {(a, n): cell(v) for a, row in figures.items() for n, v in enumerate(row)}
    # Seeds that only one of both has are no pair.
    cells["best-of-n", 7] = cell(10.0)
    found = arms_table.contrasts(cells, "graph", ["best-of-n", "genetic,tuned"])
    assert list(found) == ["best-of-n", "tuned"] and found["best-of-n"].windows == 3
    pairs = zip(figures["graph"], figures["best-of-n"], strict=True)
    expected = statistics.fmean(math.log(a / b) for a, b in pairs)
    assert found["best-of-n"].mean == pytest.approx(expected)
    ps = arms_table.adjusted(found)
    assert ps["best-of-n"] == pytest.approx(2 * found["best-of-n"].p)
    rows = arms_table.table_of(cells, arms.ARMS, "graph", found)
    words = {row["arm"]: row["graph against it"] for row in rows}
    assert words["graph"] == words["genetic"] == words["random"] == "-"
    assert words["best-of-n"].startswith("-8.5 % [-") and words["best-of-n"].endswith(
        p_value(ps["best-of-n"])
    )
    lines = arms_table.sentences(found, "graph")
    assert lines[0].startswith("graph against best-of-n: -8.5 %") and len(lines) == 4
    assert "smallest change against tuned found with 80 %: " in lines[3]


def test_the_better_of_two_arms_is_the_better_of_the_seeds_that_both_have() -> None:
    sealed = {"tuned": (64.0, 64.0), "genetic": (56.0, 56.0, 76.0, 76.0), "list": (60.0, 60.0)}
    cells = {(a, n): cell(v) for a, row in sealed.items() for n, v in enumerate(row)}
    # Over all of its seeds, two of them harder, genetic is behind.
    assert list(arms_table.contrasts(cells, "list", ["tuned,genetic"])) == ["genetic"]


def test_the_smallest_change_is_found_in_four_of_five_experiments() -> None:
    random = numpy.random.default_rng(3)
    hits = reaches = 0
    for _ in range(400):
        draws = random.normal(-0.05, 0.02, 5)
        cells = {("graph", n): cell(80 * math.exp(d)) for n, d in enumerate(draws)}
        cells |= {("random", n): cell(80.0) for n in range(5)}
        found = arms_table.contrasts(cells, "graph", ["random"])
        hits += found["random"].p < 0.05
        reaches += arms_table.detectable(found)["random"] < 0.05
    # A change that is larger than most stated reaches is found in more than four of five.
    assert reaches > 350 and hits > 330


def test_nearness_to_the_best_is_of_the_seed_and_a_shorter_search_keeps_its_best() -> None:
    cells = {
        ("graph", 0): cell(60.0, (0.0, -0.2, -0.3)),
        ("random", 0): cell(70.0, (0.0, -0.1)),
        ("random", 1): cell(70.0, (0.0, -0.05, -0.095, -0.1)),
    }
    assert arms_table.evaluations_until_near(cells) == {
        ("graph", 0): 2, ("random", 0): None, ("random", 1): 2,
    }  # fmt: skip
    assert arms_table.filled([[0.0, -0.1], [0.0, -0.2, -0.3]])[0] == [0.0, -0.1, -0.1]
    found = arms_table.contrasts(cells, "graph", ["random"])
    rows = arms_table.table_of(cells, arms.ARMS, "graph", found)
    assert {row["arm"]: row["until 1 % of best"] for row in rows} == {
        "graph": "2", "random": "-, 2",
    }  # fmt: skip


def test_intervals_are_geometric() -> None:
    assert arms_table.interval([0.5, 0.5, 0.5]) == "0.500 [0.500, 0.500]"
    assert arms_table.interval([0.7]) == "0.700"


def test_a_best_without_a_sealed_figure_is_no_tie_with_wanda() -> None:
    assert arms_table.ratio(cell(60.0), "sealed") == 0.75
    assert arms_table.ratio(cell(None), "sealed") is None
    assert arms_table.ratio(cell(None, best=None), "sealed") == 1.0


def test_a_recipe_in_words_is_measured_without_a_search() -> None:
    printed = Namespace(
        recipe="expr:(abs(W) * x_norm)+ramp+mrp", sparsity=0.7, calibration_windows=4
    )
    recipe, made = found_recipe.stated(printed)
    assert (recipe.metric.kind, recipe.metric.source) == ("expression", "(abs(W) * x_norm)")
    assert (recipe.group, recipe.allocation, recipe.repair) == ("row", "ramp", "mrp")
    assert (made.sparsity, made.calibration_windows) == (0.7, 4)
    for wrong in ("llm-compressor:wanda", "wanda+sequential"):
        with pytest.raises(SystemExit, match="is not a recipe"):
            found_recipe.stated(Namespace(recipe=wrong, sparsity=0.7, calibration_windows=4))


@pytest.mark.parametrize("found", ["sparsegpt:select=own+ebft:epochs=2", "mrp"])
def test_a_found_recipe_is_not_compared_with_itself(found: str) -> None:
    """Its own row in the catalogue would let it never lose against the best hand-made one."""
    sealed = {"sparsegpt:select=own+ebft:epochs=2": 27.0, "ebft:epochs=2": 26.0, "none": 80.0}

    def row(name: str, repair: str, perplexity: float) -> dict[str, object]:
        recipe = Recipe(Candidate("builtin", "wanda"), "row", repair=repair)
        nll = [math.log(perplexity) + 0.1 * window for window in range(3)]
        shown = {"model": "searched", "recipe": name, "as": repair, "selection": "-"}
        return {**shown, "sealed": perplexity, "nll": nll, "key": recipe_key(recipe)}

    rows = [row("found", found, 27.0), *(row(f"by hand {s}", s, v) for s, v in sealed.items())]
    found_recipe.compare(rows)
    goals = {goal.what: goal for goal in found_recipe.goals_of(rows)}
    best = goals["found by the best hand-made other than itself"]
    assert best.value == pytest.approx(27.0 / 26.0) and not best.met
    same = found_recipe.known_as(rows)
    in_catalogue = found in sealed
    assert ("IS a hand-made one of the catalogue: by hand sparsegpt" in same) == in_catalogue
    assert [r["recipe"] for r in rows if r["against the found"] == "the same recipe"] == (
        [f"by hand {found}"] if in_catalogue else []
    )


def test_the_catalogue_has_the_repairs_that_combine_masks_of_their_own_with_tuning() -> None:
    wanted = {
        *("mrp:select=own+ebft:epochs=2", "alps+ebft:epochs=2", "walk:mrp"),
        # SparseGPT block after block.
        "walk:sparsegpt:select=own",
    }
    assert wanted <= set(found_recipe.REPAIRS)
