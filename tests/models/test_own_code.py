"""Python that comes with a model is never run, whatever is answered to a question about it."""

import ast
import json
from pathlib import Path

import pytest
import torch

from autoprune.errors import AutopruneError
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model, load_tokenizer
from autoprune.models.reference import resolve
from autoprune.pruning import PruningPlan
from autoprune.streaming import StreamJob, estimate
from tests.support.tiny_models import random_windows, tiny_model

ROOT = Path(__file__).parents[2]
OWN = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
Path({marker!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
# Calls of transformers that can run code of a model.
OPENING = {"from_pretrained", "from_config"}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that the model's code makes."""
    return tmp_path / "code-ran"


@pytest.fixture
def folder(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that only code of its own opens, and somebody who answers yes to every question."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    place = tmp_path / "own"
    tiny_model("llama").save_pretrained(place)
    config = json.loads((place / "config.json").read_text())
    parts = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": parts}
    (place / "config.json").write_text(json.dumps(config))
    own = {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": ["own.OwnTokenizer"] * 2},
    }
    (place / "tokenizer_config.json").write_text(json.dumps(own))
    (place / "own.py").write_text(OWN.format(marker=str(marker)))
    return place


def test_a_model_with_code_of_its_own_is_refused(folder: Path, marker: Path) -> None:
    with pytest.raises(AutopruneError, match=r"never run here; take a model of an architecture"):
        load_model(str(folder), device="cpu")
    with pytest.raises(AutopruneError, match="never run here"):
        load_tokenizer(resolve(str(folder)))
    assert not marker.exists()


def test_streaming_refuses_it_too(folder: Path, marker: Path, tmp_path: Path) -> None:
    plan, windows = PruningPlan(0.5, scoring="sequential"), random_windows()
    job = StreamJob(folder, windows, build_metric("magnitude"), plan, torch.float32, "cpu")
    with pytest.raises(AutopruneError, match="never run here"):
        estimate(job, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("top", ["autoprune", "tasks", "flows", "sandbox", "benchmarks"])
def test_every_call_says_so(top: str) -> None:
    left_out = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in OPENING
        and not any(keyword.arg in ("trust_remote_code", None) for keyword in node.keywords)
    ]
    assert not left_out
