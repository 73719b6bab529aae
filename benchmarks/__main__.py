"""``python -m benchmarks`` lists the benchmarks, ``python -m benchmarks NAME`` runs one."""

import importlib
import sys

CATALOGUE = {
    "peer": "Wanda and SparseGPT against llm-compressor 0.14: seconds and peak memory",
    "recipes": "perplexity of metrics, allocations and repairs by hand",
    "masking": "score and mask all weights for a new metric from stored statistics",
    "scaling": "cost against parameters and against tokens, over three sizes of each",
    "streaming": "prune a random 3-billion-parameter llama from shards to shards in under 3 GB",
    "sandbox_cost": "what the container costs: start, validation, scoring a whole model",
}


def main(words: list[str]) -> int:
    """Run the benchmark that the first word names; further words are its own options."""
    if not words or words[0] not in CATALOGUE:
        print("usage: python -m benchmarks NAME [--help]\n")
        for name, line in CATALOGUE.items():
            print(f"  {name:14}{line}")
        return 2 if words and words[0] not in {"-h", "--help"} else 0
    sys.argv = [f"python -m benchmarks {words[0]}", *words[1:]]
    importlib.import_module(f"benchmarks.{words[0]}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
