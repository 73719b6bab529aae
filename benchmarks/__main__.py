"""``python -m benchmarks`` lists the benchmarks, ``python -m benchmarks NAME`` runs one.

The result is a Markdown table on standard output, also written to ``benchmarks/out`` with the same
as JSON. What happens meanwhile goes to standard error.
"""

import importlib
import sys

CATALOGUE = {
    "quality": "presets of `autoprune prune --quality`, anew into autoprune/quality.json",
    "peer": "Wanda and SparseGPT against llm-compressor 0.14: seconds and peak memory",
    "throughput": "candidates per hour of a search against a plain loop, and what both choose",
    "streaming": "prune a random 3-billion-parameter llama from shards to shards in under 3 GB",
}


def main(words: list[str]) -> int:
    """Run the benchmark that the first word names; further words are its own options."""
    if not words or words[0] not in CATALOGUE:
        print("usage: python -m benchmarks NAME [--help]\n")
        for name, line in CATALOGUE.items():
            print(f"  {name:12}{line}")
        return 2 if words and words[0] not in {"-h", "--help"} else 0
    sys.argv = [f"python -m benchmarks {words[0]}", *words[1:]]
    importlib.import_module(f"benchmarks.{words[0]}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
