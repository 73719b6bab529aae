"""Rows measured with llm-compressor, run in its own environment on the same model and tokens."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from autoprune.comparison.methods import PEER, Method
from autoprune.comparison.plan import Target
from autoprune.errors import AutopruneError, PrerequisiteError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.models.structure import PrunableLinear
from autoprune.names import UNSTRUCTURED
from autoprune.precision import type_name
from autoprune.pruning import PruneOutcome
from autoprune.storage import write_json

PACKAGE = "llmcompressor"
INSTALL = (
    f"make one with: {Path(sys.executable).name} -m venv peer && "
    f"peer/bin/python -m pip install '{PACKAGE}==0.14.*', and add --peer peer/bin/python"
)
WORKER = Path(__file__).with_name("peer_llm_compressor.py")
# Versions that determine the peer's figures: its own and those of its environment.
_VERSION = (
    "from importlib.metadata import version as v; "
    f"print(v({PACKAGE!r}), 'torch', v('torch'), 'transformers', v('transformers'))"
)


def interpreter_of(text: str) -> str:
    """Read the interpreter from ``PYTHON`` or ``llm-compressor=PYTHON``; empty if none is named."""
    name, _, path = text.partition("=")
    return path if name == PEER else text


def peer_version(python: str | None) -> str:
    """Return an environment's versions of llm-compressor, torch and transformers as one text."""
    if not python:
        raise PrerequisiteError(f"{PEER} runs in an environment of its own; {INSTALL}")
    if not Path(python).is_file():
        raise PrerequisiteError(f"there is no interpreter {python}; {INSTALL}")
    run = subprocess.run([python, "-I", "-c", _VERSION], capture_output=True, text=True)
    if run.returncode:
        raise PrerequisiteError(f"{python} has no {PEER}; {INSTALL}")
    return run.stdout.strip()


class PeerModel:
    """Copy of the dense model on disk for the peer to read; :meth:`close` removes it.

    Args:
        loaded: The model; its weights must be dense at this point.
        root: Folder for the copy.
    """

    def __init__(self, loaded: LoadedModel, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._holder = tempfile.TemporaryDirectory(dir=root, prefix="peer-")
        self.folder = Path(self._holder.name)
        loaded.model.save_pretrained(self.folder / "model")
        loaded.tokenizer.save_pretrained(self.folder / "model")
        self.dtype = type_name(loaded.model.dtype)

    def close(self) -> None:
        """Remove the copy."""
        self._holder.cleanup()


def prune_by_peer(
    method: Method,
    target: Target,
    *,
    python: str,
    copy: PeerModel,
    layers: Sequence[PrunableLinear],
    windows: Tensor,
) -> PruneOutcome:
    """Let the peer prune its copy, and load its weights into our model.

    Zeros are counted in the peer's weights; the budget is subject to the peer's own rounding.
    """
    fused = next((layer.name for layer in layers if layer.expert is not None), None)
    if fused is not None:
        raise UsageError(f"{PEER} prunes linear layers only, and {fused} is a fused expert")
    folder = copy.folder
    tokens, weights, answer = (folder / name for name in ("t.npy", "w.safetensors", "answer.json"))
    answer.unlink(missing_ok=True)
    np.save(tokens, windows.numpy())
    request = {
        "model": str(folder / "model"),
        "method": method.metric,
        "tokens": str(tokens),
        "dtype": copy.dtype,
        "sparsity": target.sparsity,
        "pattern": None if target.pattern == UNSTRUCTURED else target.pattern,
        "parameters": [layer.parameter for layer in layers],
        "weights": str(weights),
        "answer": str(answer),
    }
    write_json(folder / "request.json", request)
    # Isolated, so neither this package's folder nor the caller's paths interfere.
    line = [str(Path(python).absolute()), "-I", str(WORKER), str(folder / "request.json")]
    quiet = dict(os.environ) | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    run = subprocess.run(line, capture_output=True, text=True, env=quiet, cwd=folder)
    if run.returncode or not answer.is_file():
        last = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise AutopruneError(f"{PEER} failed with exit code {run.returncode}: {last}")
    seconds = json.loads(answer.read_text(encoding="utf-8"))["seconds"]
    return _adopt(layers, load_file(weights), seconds)


def _adopt(
    layers: Sequence[PrunableLinear], weights: dict[str, Tensor], seconds: float
) -> PruneOutcome:
    keep = {}
    for layer in layers:
        stored = weights[layer.parameter]
        weight = stored.T if layer.transposed else stored
        with torch.no_grad():
            layer.write(weight.to(layer.read()))
        keep[layer.name] = weight != 0
    return PruneOutcome.of_masks(keep, seconds)
