"""Child process that opens one saved model, generates with it and measures its own memory.

Run as ``python -m autoprune.evaluation.suites.memory_child``; see
:func:`autoprune.evaluation.suites.latency.peaks_alone`. A job is one JSON object on standard input,
its result the last line of standard output.
"""

import json
import sys

import torch

from autoprune.evaluation.suites.latency import peak_memory, time_once
from autoprune.models.quiet import quiet_transformers
from autoprune.models.widths import open_causal


def main() -> None:
    """Do the job read from standard input."""
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    with quiet_transformers():
        model = open_causal(
            job["folder"], dtype=getattr(torch, job["dtype"]), trust_remote_code=False
        )
    model.to(job["device"])
    model.eval()
    found: list[float | None] = []
    for batch in job["batches"]:
        with peak_memory(model) as peak:
            time_once(model, batch, job["prompt"], job["new"], job["seed"])
        found.append(peak[0] if peak else None)
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
