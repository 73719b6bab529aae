"""``autoprune export``: a model as a GGUF file for llama.cpp, and onto a hub."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.models.gguf_writing import export_gguf
from autoprune.models.pushing import check_push, push_to_hub
from autoprune.plain_text import shell_line
from flows.terminal.console import open_screen, report
from flows.terminal.output import emit, pairs


def run(args: argparse.Namespace, folder: Path | None) -> int:
    """Write, check, send, and print what came out."""
    if args.push_to_hub:
        check_push(args.push_to_hub)
    record: dict[str, Any] = {"model": args.model, "hub": args.push_to_hub}
    with open_screen(quiet=args.quiet):
        if args.gguf:
            made = export_gguf(
                args.model,
                args.out,
                args.gguf,
                overwrite=args.overwrite,
                compute=not args.no_compute,
                report=report,
            )
            record |= made.to_json()
        if args.push_to_hub:
            what = folder or Path(record["file"])
            record["commit"] = push_to_hub(args.push_to_hub, what, private=args.private)
    emit(args, record, pairs(*_lines(record)))
    return 0


def _lines(record: dict[str, Any]) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    if "file" in record:
        tensors = ", ".join(f"{count} {kind}" for kind, count in record["tensors"].items())
        lines += [
            ("saved", record["file"]),
            ("size", f"{record['bytes']:,} bytes, {record['bits_per_weight']:.2f} a weight"),
            ("tensors", f"{tensors}; all read back within the bounds of their types"),
        ]
        if record["zeros"] >= 0.01:
            lines.append(
                ("zeros", f"{record['zeros']:.1%} of the matrices, in the file "
                 f"{record['zeros_kept']:.1%}: they take the same bytes and the same time")
            )  # fmt: skip
        found = record["agreement"]
        if found:
            lines.append(
                ("computes", f"llama.cpp within {found['nats']:.2g} nats of transformers "
                 f"({found['bound']:g} allowed), {found['same']} of {found['tokens']} greedy "
                 "tokens the same")
            )  # fmt: skip
        lines += [("note", note) for note in record["notes"]]
    if record["hub"]:
        lines.append(("sent", record["commit"]))
    if "file" in record:
        lines.append(("next", shell_line("evaluate", record["file"], "--suite", "lm,cost")))
    return lines
