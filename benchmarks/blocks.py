"""The model's loss without each of its blocks alone, and how much worse the worst one is to lose.

Shortened LLaMA (arXiv 2402.02834) finds the first two blocks hundreds of times as bad to lose as
the best one. These are the scores of ``depth:criterion=perplexity``, here by window, on text that
no choice was made on.
"""

import argparse
import sys
from pathlib import Path

from autoprune.evaluation.perplexity import evaluate_windows, perplexity_of
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.structure import find_blocks
from autoprune.schemes.importance import losses_without
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.evidence.records import LOSSES
from benchmarks.evidence.writing import write_record
from benchmarks.table import Goal, publish

BUDGET = "1 block"
# Without the first block, at least this many times the perplexity without the best one.
WORSE = 10


def main() -> None:
    """Leave out every block in turn, publish, and write the record where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--measured-windows", type=int, default=4, help="of the selection part")
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--record", type=Path, help="folder for the raw record")
    args = parser.parse_args()
    loaded = load_model(args.model)
    parts = split(load_corpus(args.corpus))
    windows = token_windows(parts.selection, loaded.tokenizer, args.measured_windows, args.seqlen)
    dense = list(evaluate_windows(loaded.model, windows).nll)
    numbers = range(len(find_blocks(loaded.model)))
    losses: dict[int, list[float]] = {number: [] for number in numbers}
    for count, window in enumerate(windows, 1):
        # One window at a time, for its own losses; the blocks before a removed one run once.
        for number, loss in losses_without(loaded.model, window[None], numbers).items():
            losses[number].append(loss)
        print(f"{count} of {len(windows)} windows", file=sys.stderr, flush=True)
    perplexities = {number: perplexity_of(nll) for number, nll in losses.items()}
    best = min(perplexities.values())
    rows = [
        {"without block": number, "perplexity": value, "x the best": value / best}
        for number, value in perplexities.items()
    ]
    title = (
        f"{Path(args.model).name}, perplexity {perplexity_of(dense):.4g}, without one block; "
        f"{len(windows)} x {args.seqlen} tokens of the selection part"
    )
    goal = Goal(f"best block's perplexity, {WORSE} times, over block 0's",
                WORSE * best / perplexities[0], 1.0)  # fmt: skip
    publish("blocks", title, rows, [goal])
    if args.record:
        methods = {f"without {number}": {BUDGET: {"0": nll}} for number, nll in losses.items()}
        write_record(
            args.record,
            LOSSES,
            "python -m benchmarks blocks --record evidence/blocks",
            ("losses.json", {"dense": dense, "methods": methods}),
            private=("--model", "--corpus"),
            text=parts.whole,
        )


if __name__ == "__main__":
    main()
