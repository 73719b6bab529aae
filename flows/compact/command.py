"""``autoprune compact``: a pruned folder without its zeros, and back."""

import argparse
import time
from pathlib import Path
from typing import Any

from autoprune.checkpoint.compact import expand_compact, is_compact, require_equal, write_compact
from autoprune.errors import UsageError
from autoprune.plain_text import shell_line
from flows.compact.params import CompactParams
from flows.terminal.output import emit, pairs


def run(args: argparse.Namespace, params: CompactParams) -> int:
    """Encode or decode, check, and print the sizes."""
    source, out, encoding = params.source, params.target, params.encoding
    if not is_compact(source):
        record = _write(source, out, encoding or "bitmask", overwrite=params.overwrite)
    elif encoding is None:
        record = _expand(source, out, overwrite=params.overwrite)
    else:
        raise UsageError(
            f"--encoding {encoding} is for writing a compact folder, and {str(source)!r} is "
            "one already, so it is turned back; leave the option out"
        )
    emit(args, record, _text(record))
    return 0


def _write(source: Path, out: Path, encoding: str, *, overwrite: bool) -> dict[str, Any]:
    size = write_compact(source, out, encoding=encoding, overwrite=overwrite)
    started = time.perf_counter()
    compared = require_equal(source, out)
    return {
        "source": str(source),
        "out": str(out),
        "direction": "compact",
        "encoding": size.encoding,
        "dense_bytes": size.dense_bytes,
        "compact_bytes": size.compact_bytes,
        "ratio": size.ratio,
        "encoded": size.encoded,
        "tensors": size.tensors,
        "equal": compared == size.tensors,
        "seconds": size.seconds,
        "seconds_checking": time.perf_counter() - started,
    }


def _expand(source: Path, out: Path, *, overwrite: bool) -> dict[str, Any]:
    started = time.perf_counter()
    expand_compact(source, out, overwrite=overwrite)
    seconds = time.perf_counter() - started
    compared = require_equal(out, source)
    sizes = [sum(path.stat().st_size for path in folder.glob("*.safetensors"))
             for folder in (out, source)]  # fmt: skip
    return {
        "source": str(source),
        "out": str(out),
        "direction": "expand",
        "dense_bytes": sizes[0],
        "compact_bytes": sizes[1],
        "ratio": sizes[1] / sizes[0],
        "tensors": compared,
        "equal": True,
        "seconds": seconds,
    }


def _text(record: dict[str, Any]) -> str:
    dense, compact = (f"{record[key]:,} bytes" for key in ("dense_bytes", "compact_bytes"))
    back = record["direction"] == "expand"
    lines = [
        ("dense", dense),
        ("compact", f"{compact}, {record['ratio']:.1%} of it"),
        ("equal", f"all {record['tensors']} tensors came back equal to the bit"),
        ("time", f"{record['seconds']:.2f} s"),
        ("saved", record["out"]),
    ]
    if not back and not record["encoded"]:
        lines.append(("note", "no tensor is sparse enough to gain; was this model pruned?"))
    follow = (
        shell_line("evaluate", record["out"], "--part", "selection")
        if back
        else shell_line("compact", record["out"], f"{record['out']}-dense")
    )
    return pairs(*lines, ("next", follow))
