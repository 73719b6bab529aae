"""Run llm-compressor in its own environment; started by :mod:`autoprune.comparison.peer`.

Reads a JSON request, whose path is the only argument, and writes the pruned weights and an answer.
Imports nothing from AutoPrune, which is not installed in that environment.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

MODIFIERS = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}
UNSTRUCTURED = "0:0"


def prune(
    model: Any,
    tokenizer: Any,
    method: str,
    tokens: Any,
    sparsity: float,
    pattern: str = UNSTRUCTURED,
) -> None:
    """Prune in place as described in llm-compressor's manual."""
    modifier = MODIFIERS[method](
        sparsity=sparsity,
        mask_structure=pattern,
        targets=["Linear"],
        ignore=["re:.*lm_head"],
    )
    columns = {"input_ids": tokens.tolist(), "attention_mask": np.ones_like(tokens).tolist()}
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_dict(columns),
        recipe=modifier,
        num_calibration_samples=tokens.shape[0],
        max_seq_length=tokens.shape[1],
        shuffle_calibration_samples=False,
    )


def main() -> None:
    """Prune as requested."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokens = np.load(request["tokens"])
    dtype = getattr(torch, request["dtype"])
    model = AutoModelForCausalLM.from_pretrained(
        request["model"], dtype=dtype, trust_remote_code=False
    )
    pattern = request["pattern"] or UNSTRUCTURED
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(request["model"], trust_remote_code=False)
    prune(model, tokenizer, request["method"], tokens, request["sparsity"], pattern)
    seconds = time.perf_counter() - started
    found = dict(model.named_parameters())
    weights = {name: found[name].detach().cpu().contiguous() for name in request["parameters"]}
    save_file(weights, request["weights"])
    Path(request["answer"]).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
