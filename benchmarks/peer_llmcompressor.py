"""One run of llm-compressor, inside its own environment; see :mod:`benchmarks.peer`."""

import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from autoprune.comparison.peer_llm_compressor import prune
from benchmarks.measured import report


def main() -> None:
    """Prune and report."""
    method, folder, tokens_file, share, samples = sys.argv[1:]
    tokens = np.load(tokens_file)[: int(samples)]
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    loaded, used = time.perf_counter(), time.process_time()
    prune(model, tokenizer, method, tokens, float(share))
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
