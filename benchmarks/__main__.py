"""``python -m benchmarks`` lists the benchmarks, ``python -m benchmarks NAME`` runs one.

The result is a Markdown table on standard output; ``--json`` prints the record instead. Both are
also written to ``benchmarks/out``. What happens meanwhile goes to standard error.
"""

import contextlib
import importlib
import sys

from benchmarks.measured import OUT

CATALOGUE = {
    "peer": "Wanda and SparseGPT against llm-compressor 0.14: seconds and peak memory",
    "recipes": "perplexity of metrics, allocations and repairs by hand",
    "quality": "presets of `autoprune prune --quality`, anew into autoprune/quality.json",
    "repairs": "every repair after one mask: perplexity, seconds, layer errors",
    "row_systems": "MRP's row systems of one block against batched LAPACK",
    "masking": "score and mask all weights for a new metric from stored statistics",
    "scaling": "cost against parameters, up to a billion, and against tokens",
    "streaming": "prune a random 3-billion-parameter llama from shards to shards in under 3 GB",
    "compact": "bytes and seconds of a compact checkpoint, 60 % zeros in bfloat16, against gzip",
    "equal_bytes": "dense quantised, pruned and quantised, zeros in compact form, at equal bytes",
    "experts": "experts of an upcycled model by each criterion, on own and other text",
    "blocks": "the model's loss without each of its blocks alone",
    "mirroring": "what MLflow costs a search: 100 candidates on SQLite in under 3 s",
    "published": "published perplexities, reproduced within 1 %; needs the model hub",
    "arms": "ways to propose at equal evaluations: graph, list, placebo, Optuna, GP, chance, grid",
    "forecasting": "which of two measured recipes is better, asked with a list and with the graph",
    "verifiers": "wrong steps of worked solutions, found by each verifier: AUROC, and by chance",
    "best_of": "best of eight replies by each verifier against a reply picked at random",
    "instruct": "200 threads with planted faults through `autoprune instruct`: counts by reason",
    "judging": "recorded searches replayed with a judge: measurements saved, at what final quality",
    "judging_reasons": "the same with a designer's reasons and forecasts as judges",
    "seen_items": "accuracy on dated items that a recovery has seen, and on fresh ones: the slope",
    "throughput": "candidates per hour against the plain loop, and whether both choose alike",
    "selection_precision": "what bfloat16 products change where a search measures, and their speed",
    "study": "depth, width and skipping, and three calibration texts: two claims on a record",
    "found_recipe": "a search's recipe against the hand-made catalogue, and on a second model",
    "programs": "how well the error of three blocks foretells a program's loss, over 48 programs",
    "sandbox_cost": "what the container costs: start, validation, scoring a whole model",
}
JSON = "--json"
# Earlier spellings of options, which are refused with the new one.
RENAMED = {
    "--samples": "--calibration-windows",
    "--second-samples": "--second-calibration-windows",
    "--second-windows": "--second-measured-windows",
    "--solver": "--repair",
    "--solvers": "--repairs",
    "--windows": "--measured-windows",
}
CHOOSING = {"--windows": "--selection-windows"}
RENAMED_IN = {"arms": CHOOSING, "throughput": CHOOSING}


def main(words: list[str]) -> int:
    """Run the benchmark that the first word names; further words are its own options."""
    if not words or words[0] not in CATALOGUE:
        print("usage: python -m benchmarks NAME [--json] [--help]\n")
        for name, line in CATALOGUE.items():
            print(f"  {name:14}{line}")
        return 2 if words and words[0] not in {"-h", "--help"} else 0
    name = words[0]
    renamed = RENAMED | RENAMED_IN.get(name, {})
    for word in words[1:]:
        earlier = word.partition("=")[0]
        if earlier in renamed:
            print(f"{earlier} is now {renamed[earlier]}", file=sys.stderr)
            return 2
    sys.argv = [f"python -m benchmarks {name}", *(word for word in words[1:] if word != JSON)]
    record = OUT / f"{name}.json"
    before = record.stat().st_mtime_ns if record.exists() else 0
    benchmark = importlib.import_module(f"benchmarks.{name}")
    if JSON not in words:
        benchmark.main()
        return 0
    with contextlib.redirect_stdout(sys.stderr):
        benchmark.main()
    if record.exists() and record.stat().st_mtime_ns != before:
        print(record.read_text(encoding="utf-8"), end="")
        return 0
    print(f"{name} wrote no record; run it without {JSON}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
