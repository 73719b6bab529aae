"""One run of llm-compressor, inside its own environment; see :mod:`benchmarks.peer`."""

import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.measured import report

MODIFIERS = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}


def main() -> None:
    """Prune and report."""
    method, folder, tokens_file, share, samples = sys.argv[1:]
    tokens = np.load(tokens_file)[: int(samples)]
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded, used = time.perf_counter(), time.process_time()
    columns = {"input_ids": tokens.tolist(), "attention_mask": np.ones_like(tokens).tolist()}
    modifier = MODIFIERS[method](sparsity=float(share), targets=["Linear"], ignore=["re:.*lm_head"])
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_dict(columns),
        recipe=modifier,
        num_calibration_samples=tokens.shape[0],
        max_seq_length=tokens.shape[1],
        shuffle_calibration_samples=False,
    )
    pruned, cpu = time.perf_counter(), time.process_time() - used
    maps = [m.weight for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    zeros = sum(int((weight == 0).sum()) for weight in maps)
    report(
        load_s=loaded - start,
        prune_s=pruned - loaded,
        prune_cpu_s=cpu,
        sparsity=zeros / sum(weight.numel() for weight in maps),
        versions={name: version(name) for name in ("llmcompressor", "torch", "transformers")},
    )


if __name__ == "__main__":
    main()
