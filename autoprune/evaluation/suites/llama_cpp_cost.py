"""What a model costs as a GGUF file: bytes, and speed and memory through llama.cpp."""

from collections.abc import Sequence
from pathlib import Path

import torch

from autoprune.errors import AutopruneError
from autoprune.evaluation.intervals import bootstrap_median
from autoprune.evaluation.suites.rows import RUNS, Row, RowContext
from autoprune.models.gguf_writing import export_gguf
from autoprune.models.llama_cpp import measure_speed
from autoprune.numerics import hardware
from autoprune.progress import Progress, Report


def llama_cpp_rows(
    folder: Path,
    kinds: Sequence[str],
    prompt: Sequence[int],
    new: int,
    repeats: int,
    context: RowContext,
    report: Report,
) -> list[Row]:
    """Write the folder as GGUF files next to it, and time each in a child process.

    llama.cpp gets as many threads as torch has, and torch computes nothing meanwhile.
    """
    rows: list[Row] = []
    threads = torch.get_num_threads()
    for number, kind in enumerate(kinds):
        name = f"llama.cpp {kind}"
        only = {"gguf": kind}
        protocol = {"prompt": len(prompt), "new": new, "repeats": repeats, **hardware(), **only}
        report(Progress("llama.cpp", number, len(kinds), f"{kind}: write the file, then time it"))
        file = folder.parent / f"{kind}.gguf"
        try:
            made = export_gguf(folder, file, kind, compute=False)
            rows.append(
                context.figure(
                    name, "size", made.bytes, unit="bytes", protocol=only,
                    details={"tensors": dict(made.tensors), "zeros_kept": made.zeros_kept},
                )
            )  # fmt: skip
            speed = measure_speed(file, prompt, new, repeats=repeats, threads=threads)
        except AutopruneError as error:
            rows.append(context.missing(name, "decode", str(error), protocol=protocol))
            continue
        finally:
            file.unlink(missing_ok=True)
        protocol["xllamacpp"] = speed.version
        for metric, runs in (("prefill", speed.prefill), ("decode", speed.decode)):
            median, interval = bootstrap_median(runs, seed=context.seed)
            rows.append(
                context.figure(
                    name, metric, median, unit="tokens per second", interval=interval, items=runs,
                    protocol=protocol, details={RUNS: True},
                )
            )  # fmt: skip
        rows.append(
            context.figure(name, "peak_memory", speed.peak_bytes, unit="bytes", protocol=protocol)
        )
        report(Progress("llama.cpp", number + 1, len(kinds), f"{kind}: {median:.1f} tokens/s"))
    return rows
