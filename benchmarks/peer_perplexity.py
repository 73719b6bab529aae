"""Perplexity after llm-compressor, inside its own environment; see :mod:`benchmarks.found_recipe`.

``METHOD MODEL TOKENS UNSEEN SHARE``: prunes the model folder with the calibration tokens and
measures the windows of the second file as :mod:`autoprune.evaluation.perplexity` does.
"""

import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from autoprune.comparison.peer_llm_compressor import prune
from benchmarks.measured import report


def main() -> None:
    """Prune, measure, report."""
    method, folder, tokens_file, unseen_file, share = sys.argv[1:]
    tokens, unseen = np.load(tokens_file), torch.from_numpy(np.load(unseen_file))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False
    )
    prune(
        model,
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        method,
        tokens,
        float(share),
    )
    losses = []
    with torch.no_grad():
        for window in unseen:
            logits = model(input_ids=window[None], use_cache=False).logits[0, :-1].float()
            losses.append(float(torch.nn.functional.cross_entropy(logits, window[1:])))
    report(nll=losses)


if __name__ == "__main__":
    main()
