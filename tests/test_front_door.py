"""The library's front door: examples of the manual, a light import, no orchestrator."""

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import autoprune
from autoprune import Budget, Recipe
from autoprune.api import _check_out
from autoprune.comparison.bench import ComparisonBench
from autoprune.errors import AutopruneError, UnknownNameError, UsageError
from autoprune.masking import budget_zeros
from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.program_files import program_source
from autoprune.pruning import MetricScore, PruningPlan
from autoprune.pruning import prune as prune_in_place
from autoprune.text.seen_text import SeenText
from tests.support.given_runner import GivenRunner
from tests.support.tiny_subject import save_subject, tiny_subject

PROJECT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "python.md").read_text(), re.S)
# Importing any of them, or a part of it, raises; asking whether it is installed says no.
WITHOUT = """
import sys
for name in ("prefect", "mlflow", "docker", "flows", "tasks", "sandbox"):
    sys.modules[name] = None
"""
LIGHT = """
import gc, sys, autoprune
heavy = {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)
assert not heavy, heavy
assert {'load', 'prune', 'Recipe', 'Budget', 'Pruned'} <= set(dir(autoprune))
# Collections would find little in what is imported, and take their time.
collections = lambda: sum(one['collections'] for one in gc.get_stats())
before = collections()
from autoprune import prune
assert 'torch' in sys.modules and autoprune.prune is prune
assert gc.isenabled() and collections() - before < 50
print('light', flush=True)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_subject(tiny_subject(), tmp_path_factory.mktemp("door") / "tiny")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(80)]
    path = tmp_path_factory.mktemp("door") / "text.txt"
    path.write_text("\n\n".join(" ".join(rng.choices(words, k=60)) for _ in range(60)))
    return path


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def used(
    model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """A process without an orchestrator that looks at the import, then runs all examples."""
    # It imports torch once, but each example has only the names that it defines itself.
    program = WITHOUT + LIGHT
    for number, example in enumerate(EXAMPLES):
        out = tmp_path_factory.mktemp("used") / "out"
        for name, value in (("MODEL", model), ("TEXT", text), ("OUT", out)):
            example = example.replace(f'"{name}"', repr(str(value)))
        example = example.replace("seqlen=512", "seqlen=32")
        program += f"exec(compile({example!r}, 'example {number}', 'exec'), {{}})\n"
    return run(program)


def test_the_import_is_light_and_shows_its_names(used: subprocess.CompletedProcess[str]) -> None:
    assert used.stdout.startswith("light\n"), used.stderr
    with pytest.raises(AttributeError, match="no attribute 'prnue'"):
        autoprune.prnue  # noqa: B018


def test_the_manuals_examples_run_without_an_orchestrator(
    used: subprocess.CompletedProcess[str],
) -> None:
    assert len(EXAMPLES) >= 5
    assert used.returncode == 0, used.stderr


def test_what_makes_the_orchestrator_absent_works() -> None:
    asked = "".join(
        f"try:\n    import {name}\nexcept ModuleNotFoundError:\n    print('{name}')\n"
        for name in ("prefect", "mlflow", "docker", "tasks.prune")
    )
    assert run(WITHOUT + asked).stdout.split() == ["prefect", "mlflow", "docker", "tasks.prune"]


def test_it_prunes_as_the_engine_does_and_saves_what_it_says(
    model: Path, text: Path, tmp_path: Path
) -> None:
    line = "ria+ramp+dsnot+mrp+ebft:epochs=1"
    out = tmp_path / "out"
    # Long enough for the n-grams of the text that the model has seen.
    size = {"calibration_windows": 4, "seqlen": 96}
    made = autoprune.prune(model, line, 0.55, corpus=text, **size, seed=3, out=out)  # type: ignore[arg-type]
    other = autoprune.load(str(model))
    windows = autoprune.api.token_windows(
        autoprune.api.load_corpus(str(text)).for_calibration(3), other.tokenizer, 4, 96
    )
    plan = PruningPlan.of_recipe(Recipe.parse(line), 0.55, seed=3)
    wanted = prune_in_place(other.model, MetricScore(build_metric("ria")), plan, windows=windows)
    assert made.mask_digest == wanted.mask_digest
    layers = prunable_linears(other.model)
    assert made.zeros == budget_zeros(0.55, sum(layer.numel for layer in layers))
    saved = AutoModelForCausalLM.from_pretrained(out)
    for layer, twin in zip(prunable_linears(saved), layers, strict=True):
        assert torch.equal(layer.read(), twin.read()), layer.name
    record = json.loads((out / "autoprune.json").read_text())
    assert made.saved is not None and record["checkpoint"]["zeros"] == made.saved.zeros.zeros
    assert record["solver"] == "dsnot+mrp+ebft:epochs=1" and record["samples"] == 4
    assert record["mask_digest"] == made.mask_digest
    card = (out / "README.md").read_text()
    assert f"{made.saved.zeros.zeros:,} of" in card and "dsnot+mrp+ebft:epochs=1" in card
    with pytest.raises(UsageError, match="is the source itself"):
        autoprune.prune(out, "magnitude", 0.6, out=out, overwrite=True)
    for how in ({"recipe": "wanda+recover"}, {"scheme": "depth"}):
        with pytest.raises(UsageError, match="calibration_windows 0: give at least 1"):
            autoprune.prune(out, sparsity=0.6, calibration_windows=0, **how)  # type: ignore[call-overload]
    # A .gguf file may lie beside what is written; a folder is the source as a whole.
    source = other.source
    for file, fault in (("model.gguf", None), (None, "lies in the source")):
        held = replace(other, source=replace(source, folder=tmp_path, gguf_file=file))
        with pytest.raises(UsageError, match=fault) if fault else nullcontext():
            _check_out(held, [], tmp_path / "beside", overwrite=False)
    again = autoprune.prune(out, "magnitude", 0.6, out=tmp_path / "again")
    with pytest.raises(UsageError, match="or pass overwrite=True"):
        autoprune.prune(out, "magnitude", 0.6, out=tmp_path / "again")
    autoprune.prune(out, "magnitude", 0.6, out=tmp_path / "again", overwrite=True)
    seen = SeenText.load(tmp_path / "again" / "seen_text.npz")
    # Magnitude reads no text, so the model has seen what it had seen before.
    read = other.tokenizer.decode(windows[0], skip_special_tokens=True)
    assert seen.shared([read], 8)[0][0] > 0
    assert again.notes == again.outcome.notes


def test_a_programs_folder_holds_its_source_and_the_command(
    model: Path, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(program_source("mrp"))
    out = tmp_path / "out"
    size = {"calibration_windows": 4, "seqlen": 32, "runner": GivenRunner()}
    autoprune.prune(model, f"program:{tmp_path}/mine.py", 0.5, corpus=text, out=out, **size)  # type: ignore[call-overload]
    card = (out / "README.md").read_text()
    assert "layer program `mine.py`" in card and "--program program.py" in card
    assert (out / "program.py").read_text() == program_source("mrp")


@pytest.mark.parametrize("then", [{"recipe": "magnitude"}, {"scheme": "width:score=magnitude"}])
def test_a_loaded_model_s_record_names_earlier_changes_and_their_text(
    model: Path, text: Path, tmp_path: Path, then: dict[str, str]
) -> None:
    loaded = autoprune.load(str(model))
    first = autoprune.prune(
        loaded, "wanda+ramp", 0.5, corpus=text, calibration_windows=4, seqlen=96
    )
    autoprune.prune(loaded, sparsity=0.3, out=tmp_path / "out", **then)  # type: ignore[call-overload]
    note = f"the weights were not those of {model}: changed before by wanda+ramp at 50 %"
    assert note in json.loads((tmp_path / "out" / "autoprune.json").read_text())["notes"]
    assert not [line for line in first.notes if "changed before" in line]
    windows = autoprune.api.token_windows(
        autoprune.api.load_corpus(str(text)).for_calibration(0), loaded.tokenizer, 4, 96
    )
    read = loaded.tokenizer.decode(windows[0], skip_special_tokens=True)
    seen = SeenText.load(tmp_path / "out" / "seen_text.npz")
    assert seen.shared([read], 8)[0][0] > 0


@pytest.mark.parametrize(("writes", "recorded"), [(False, []), (True, ["wanda at 50 %"])])
def test_a_failure_is_recorded_as_a_change_once_a_weight_was_written(
    model: Path,
    text: Path,
    monkeypatch: pytest.MonkeyPatch,
    writes: bool,
    recorded: list[str],
) -> None:
    loaded = autoprune.load(str(model))
    prune = autoprune.api.prune_in_place

    def interrupted(*args: Any, **options: Any) -> None:
        if writes:
            prune(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(autoprune.api, "prune_in_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        autoprune.prune(loaded, "wanda", 0.5, corpus=text, calibration_windows=4, seqlen=32)
    assert [what for what, _ in loaded.changes] == recorded


@pytest.mark.parametrize("asked", [{"recipe": "magnitude"}, {"scheme": "width:score=magnitude"}])
def test_a_processors_settings_are_saved_with_the_model(
    model: Path, tmp_path: Path, asked: dict[str, str]
) -> None:
    source = shutil.copytree(model, tmp_path / "source")
    (source / "preprocessor_config.json").write_text('{"size": 28}')
    made = autoprune.prune(source, sparsity=0.5, out=tmp_path / "out", **asked)  # type: ignore[call-overload]
    assert (made.saved.folder / "preprocessor_config.json").read_text() == '{"size": 28}'


@pytest.mark.parametrize("asked", [{"recipe": "wanda"}, {"scheme": "width"}])
def test_a_model_opened_in_part_is_not_saved(
    model: Path, text: Path, tmp_path: Path, asked: dict[str, str]
) -> None:
    source = shutil.copytree(model, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"vision_config": {"depth": 2}}))
    loaded = autoprune.load(str(source))
    # As transformers opens those families of which it has a class for text alone.
    vars(loaded.model.config).pop("vision_config", None)
    with pytest.raises(UsageError, match=r"reads more than text \(vision_config .* --stream"):
        autoprune.prune(loaded, sparsity=0.5, corpus=text, out=tmp_path / "out", **asked)  # type: ignore[call-overload]
    assert not (tmp_path / "out").exists() and loaded.changes == []


@pytest.mark.parametrize("asked", [{}, {"scheme": "width", "sparsity": 0.2}])
def test_what_is_read_is_never_replaced(
    model: Path, text: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name, content in (("config.json", "{}"), ("text.txt", text.read_text())):
        (old / name).write_text(content)
    where = {"out": old, "overwrite": True, "calibration_windows": 4, "seqlen": 32}
    with pytest.raises(UsageError, match=r"holds the source .*text\.txt"):
        autoprune.prune(model, corpus=old / "text.txt", **where, **asked)
    (old / "mine.py").write_text(program_source("mrp"))
    with pytest.raises(UsageError, match=r"holds the source .*mine\.py"):
        autoprune.prune(
            model, f"program:{old}/mine.py+ebft", corpus=text, runner=GivenRunner(), **where
        )
    assert len(list(old.iterdir())) == 3


def test_a_model_never_appears_without_the_fingerprint_of_its_text(
    model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SeenText, "save", full)
    size = {"corpus": text, "calibration_windows": 4, "seqlen": 32}
    with pytest.raises(AutopruneError, match=r"could not write .*No space left"):
        autoprune.prune(model, "wanda", 0.5, **size, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_line_says_what_compare_says() -> None:
    recipe = Recipe.parse("wanda+sdsa:strength=0.2+dsnot+mrp+sequential")
    assert (recipe.allocation, recipe.repair, recipe.scoring) == (
        "sdsa:strength=0.2",
        "dsnot+mrp",
        "sequential",
    )
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert "scoring" not in Recipe.parse("wanda").to_json()
    assert Recipe.parse("wanda") == Recipe.from_json(Recipe.parse("wanda").to_json())
    formula = Recipe.parse("expr:abs(W) * x_norm+ramp")
    assert formula.metric.kind == "expression" and formula.allocation == "ramp"
    assert Recipe.parse("sparsegpt").repair == "sparsegpt:select=own"


def test_a_sequential_line_is_pruned_so(model: Path, text: Path) -> None:
    size = {"corpus": text, "calibration_windows": 4, "seqlen": 32}
    shot = autoprune.prune(model, "wanda", 0.5, **size)
    walk = autoprune.prune(model, "wanda+sequential", 0.5, **size)
    assert shot.mask_digest != walk.mask_digest and shot.zeros == walk.zeros


def test_a_text_with_fewer_windows_than_asked_is_noted(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("abcde " * 18)
    size = {"corpus": path, "calibration_windows": 16, "seqlen": 32}
    for made in (
        autoprune.prune(model, "wanda", 0.5, **size),
        autoprune.prune(model, scheme="depth:criterion=influence", sparsity=0.5, **size),
    ):
        assert "holds 3 windows of 32 tokens and 16 are asked for" in made.notes[0]


def test_a_folder_may_begin_at_home(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    autoprune.prune(model, "magnitude", 0.5, out="~/pruned")
    assert (tmp_path / "pruned" / "autoprune.json").is_file() and not Path("~").exists()


def test_the_model_itself_writes_self_generated_text(model: Path, tmp_path: Path) -> None:
    made = autoprune.prune(
        model, "wanda", 0.5, corpus="self-generated", calibration_windows=2, seqlen=16,
        out=tmp_path / "out",
    )  # fmt: skip
    record = json.loads((tmp_path / "out" / "autoprune.json").read_text())
    assert record["corpus"] == f"self-generated/{made.model.source.digest[:12]}"
    assert record["samples"] == 2


def test_wrong_requests_are_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    nowhere = tmp_path / "nothing"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(UnknownNameError, match="unknown part of a method 'mpr'"):
        autoprune.prune(nowhere, "wanda+mpr")
    with pytest.raises(UsageError, match="only the sandbox may run"):
        autoprune.prune(nowhere, "my_metric.py")
    with pytest.raises(UsageError, match="contradicts pattern 2:4"):
        autoprune.prune(nowhere, "wanda", 0.6, "2:4")
    with pytest.raises(UsageError, match="two budgets"):
        autoprune.prune(nowhere, "wanda", Budget(0.5), "2:4")
    with pytest.raises(UsageError, match="whole model at once"):
        autoprune.prune(nowhere, "wanda+global+sequential")
    with pytest.raises(UsageError, match="holds no saved model"):
        autoprune.prune(nowhere, "wanda", out=tmp_path / "mine")
    with pytest.raises(UsageError, match="no sparsity was given"):
        Budget()
    assert Budget(pattern="2:4").share == 0.5


def test_earlier_keywords_are_answered_with_those_of_today(model: Path) -> None:
    with pytest.raises(UsageError, match="solver is now repair; write repair='mrp'"):
        PruningPlan.build(0.5, solver="mrp")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="windows is now calibration_windows; write calib"):
        autoprune.prune(model, "wanda", windows=4)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="write calibration_windows=2, selection_windows=3, seal"):
        autoprune.Bench.open(model, windows=2, selection=3, sealed=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="seeds is now draws; write calibration_windows=4, draws"):
        ComparisonBench("m", samples=4, seeds=2)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="selection is now selection_windows"):
        autoprune.inspect_model(model, selection=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="sample"):
        autoprune.prune(model, "wanda", sample=4)  # type: ignore[call-overload]
