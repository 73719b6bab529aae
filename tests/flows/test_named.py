"""A misspelt name is answered at once, and leaves nothing behind: no folder, no run, no record."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.allocation import ALLOCATORS
from autoprune.errors import UsageError
from autoprune.evaluation.suites import SUITES
from autoprune.metrics import METRICS
from autoprune.names import BUILT_IN
from autoprune.registry import Registry
from autoprune.repair import REPAIRS
from autoprune.schemes import SCHEMES
from autoprune.text.corpora import CORPORA
from autoprune.verify import VERIFIERS
from flows.cli import main
from flows.compare.params import CompareParams
from flows.evaluate.params import EvaluateParams
from flows.params import Params
from flows.prune.params import PruneParams
from flows.search import search
from flows.search.params import SearchParams

REGISTRIES: list[Registry] = [*(METRICS, ALLOCATORS, REPAIRS, SCHEMES, SUITES, CORPORA, VERIFIERS)]
TYPOS = [
    ("prune ./missing", "unknown model './missing'"),
    ("prune MODEL --metric wandaa", "unknown metric 'wandaa'; did you mean wanda"),
    # A letter of another alphabet.
    ("prune MODEL --metric wаnda", "did you mean wanda"),
    ("prune MODEL --allocation unifrom", "did you mean uniform"),
    ("prune MODEL --repair mpr", "unknown repair 'mpr'; did you mean mrp"),
    ("prune MODEL --repair mrp+sparsegtp", "did you mean sparsegpt"),
    ("prune MODEL --pattern 2of4", "pattern"),
    ("prune MODEL --scheme detph --sparsity 0.2", "unknown scheme 'detph'; did you mean depth"),
    ("prune MODEL --scheme depth", "add one of --sparsity 0.2"),
    ("prune MODEL --scheme depth --sparsity 0.2 --group row", "leave out --group, or --scheme"),
    ("prune MODEL --metric shortgpt", "--scheme depth:criterion=influence,patch=none"),
    ("prune MODEL --scheme self-pruner --sparsity 0.2", "--schemes width:rates=ramp"),
    ("prune MODEL --metric bypass", "--scheme width:search=policy"),
    ("prune MODEL --corpus wikitext", "did you mean wikitext2"),
    ("prune MODEL --corpus ./no.txt", "'./no.txt' does not exist"),
    ("search ./missing", "unknown model './missing'"),
    ("search MODEL --repairs none,mpr", "did you mean mrp"),
    ("compare MODEL --methods wanda,wnada", "did you mean wanda"),
    ("compare MODEL --methods wanda+mpr", "unknown part of a method 'mpr'; did you mean mrp"),
    ("compare MODEL --suite lm,reasonin", "did you mean reasoning"),
    ("evaluate MODEL --suite reasonin", "did you mean reasoning"),
    ("evaluate MODEL --against ./other", "unknown model './other'"),
    ("promote --corpus wikitext", "did you mean wikitext2"),
    # Words of other programs.
    ("prune MODEL --output-dir o", "did you mean --out?"),
    ("prune MODEL --save o --sparsity_ratio 0.5", "did you mean --sparsity?"),
    ("evaluate MODEL --tasks hellaswag", "autoprune: --tasks belongs to the suite tasks"),
]
# These need their own parsers, but nothing is started for them either.
WRONG_PARTS = [
    ("prune MODEL --pattern 4:2", "1 ≤ N < M"),
    ("prune MODEL --pattern 2:4 --sparsity 0.6", "contradicts pattern 2:4"),
    ("prune MODEL --metric expr:abs(V)", "V"),
    ("prune MODEL --metric none.py", "cannot be read"),
    ("prune MODEL --allocation sdsa:strenght=0.2", "no parameter 'strenght'"),
    ("prune MODEL --scheme depth:critereon=taylor --sparsity 0.2", "no parameter 'critereon'"),
    ("search MODEL --repairs ebft:epoch=2", "no parameter 'epoch'"),
    ("prune MODEL --scheme depth --sparsity 0.2 --repair mrp", "mrp works around zeros"),
    ("prune MODEL --scheme depth+mrp --sparsity 0.2", "follow a scheme is ebft"),
    ("compare MODEL --methods wanda+ebft+mrp", "ebft"),
    ("search MODEL --corpus hf:org", "hf:ORG/NAME"),
    ("search MODEL --pattern 2:4 --also-sparsities 0.6,0.7", "also_sparsities 0.6, 0.7: the patt"),
    ("search MODEL --pattern 2:4 --starts ria+sdsa", "2:4 fixes the share of each layer, not sdsa"),
]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that is not there yet, and Prefect on."""
    folder = tmp_path / "state"
    monkeypatch.setenv("AUTOPRUNE_HOME", str(folder))
    for name in ("AUTOPRUNE_PREFECT", "PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_names_that_are_known_without_torch_are_those_of_the_registry(registry: Registry) -> None:
    group, names = BUILT_IN[registry.kind]
    ours = {n for n, entry in registry._entries.items() if _module(entry).startswith("autoprune")}
    assert group == registry.group and set(names) == ours


def _module(entry: object) -> str:
    return str(getattr(entry, "__module__", type(entry).__module__))


@pytest.mark.parametrize(("line", "shown"), TYPOS + WRONG_PARTS)
def test_a_wrong_name_leaves_nothing_behind(
    line: str, shown: str, bare: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tiny_folder) if word == "MODEL" else word for word in line.split()]
    assert main([*words, "-q"]) == 2
    assert shown in capsys.readouterr().err
    assert not bare.exists() and not list(bare.parent.iterdir())


def test_a_model_of_a_near_name_and_an_empty_text_are_named(bare: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, "my-model")
    Path("nothing.txt").touch()
    with pytest.raises(UsageError, match=r"did you mean \./my-model\? allowed"):
        PruneParams(model="./my-modle").check()
    with pytest.raises(UsageError, match=r"'nothing\.txt' is empty"):
        PruneParams(model="./my-model", corpus="nothing.txt").check()


def test_misspelt_names_are_answered_without_torch_prefect_and_mlflow(
    bare: Path, tiny_folder: Path
) -> None:
    lines = [[str(tiny_folder) if w == "MODEL" else w for w in line.split()] for line, _ in TYPOS]
    code = (
        "import json, sys\nfrom flows.cli import main\n"
        "codes = [main(line) for line in json.loads(sys.argv[1])]\n"
        "heavy = [n for n in ('torch', 'prefect', 'mlflow', 'transformers') if n in sys.modules]\n"
        "print(json.dumps([codes, heavy]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[2] * len(TYPOS), []]


def test_a_run_of_the_form_with_a_wrong_model_makes_no_folder(bare: Path, text_file: Path) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        search.fn(SearchParams(model="./missing", corpus=str(text_file), run="x"))
    assert not bare.exists()


@pytest.mark.parametrize(
    "params",
    [
        PruneParams(metric="ria:exponent=1", repair="walk:dsnot+mrp", allocation="auto:ramp+sdsa"),
        PruneParams(metric="expr:abs(W) * x_norm", repair="ebft", allocation="sdsa"),
        PruneParams(corpus="self-generated:seed=1", pattern="2:4", allocation="auto"),
        SearchParams(repairs="none,sparsegpt:select=own+ebft:epochs=2", corpus="hf:a/b:train#text"),
        CompareParams(methods="wanda,expr:(abs(W) * x_norm)+ramp,wanda+row+sdsa+mrp+sequential"),
        CompareParams(methods="llm-compressor:wanda", suite="lm,tasks:names=boolq,limit=10"),
        CompareParams(metrics="wanda,ria", allocations="sdsa:strength=0.2", repairs="mrp,none"),
        EvaluateParams(suite="lm,live:chat=true,limit=4", corpus="wikitext2, c4"),
    ],
)
def test_what_is_right_passes(params: Params, tiny_folder: Path) -> None:
    params.model_copy(update={"model": str(tiny_folder)}).check()
