"""``autoprune export``: a model as a GGUF file for llama.cpp, and onto a hub."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.models.gguf_writing import export_gguf
from autoprune.models.pushing import check_push, push_to_hub
from autoprune.plain_text import shell_line
from flows.export.params import ExportParams
from flows.terminal.console import open_screen, report
from flows.terminal.output import emit, pairs


def run(args: argparse.Namespace, params: ExportParams) -> int:
    """Write, check, send, and print what came out."""
    hub, what = params.push_to_hub, params.folder
    if hub:
        check_push(hub)
    record: dict[str, Any] = {"model": params.model, "hub": hub}
    with open_screen(quiet=args.quiet):
        if params.gguf and params.out:
            made = export_gguf(
                params.model,
                params.out,
                params.gguf,
                overwrite=params.overwrite,
                compute=params.compute,
                report=report,
            )
            record |= made.to_json()
            what = Path(record["file"])
        if hub:
            record["commit"] = push_to_hub(hub, what, private=params.private)
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
        # Which text a model was calibrated on stands in its folder, and transformers opens no file
        # with a width for each block.
        lines.append(("next", shell_line("evaluate", record["model"], "--suite", "cost")))
    return lines
