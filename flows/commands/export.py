"""``autoprune export``: a model as a GGUF file for llama.cpp, and onto a hub."""

import argparse
from pathlib import Path
from typing import Any

from flows.terminal.option_types import add_overwrite
from flows.terminal.output import emit, pairs

NAME = "export"
HELP = "write a model as a GGUF file for llama.cpp, or send it to a hub"
DESCRIPTION = (
    "Write a dense or pruned model as a GGUF file, read every tensor back, and, where xllamacpp is "
    "installed, compare what llama.cpp computes with it with what transformers computes. The file "
    "appears checked or not at all. With --push-to-hub the file, or without --gguf the saved "
    "folder, is sent to a hub; nothing is sent otherwise."
)
EXAMPLE = "autoprune export pruned --gguf q8_0 --out pruned.gguf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder of a saved model, dense or pruned; a hub id, .gguf file, package:module/file",
    )
    parser.add_argument(
        "--gguf",
        metavar="TYPE",
        help="f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0; by llama.cpp's own code q6_k, q5_k_m, "
        "q4_k_m, q3_k_m",
    )
    parser.add_argument("--out", metavar="FILE", help="the .gguf file to write")
    add_overwrite(parser, "a file that lies there")
    parser.add_argument(
        "--no-compute",
        action="store_true",
        help="read the file back only, for a model that memory does not hold in float32",
    )
    parser.add_argument(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="send the result there; a repository that does not exist is made",
    )
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether a repository that is made is private (default: it is)",
    )


def run(args: argparse.Namespace) -> int:
    """Write, check, send, and print what came out."""
    from autoprune.errors import UsageError
    from flows.terminal.console import open_screen, report

    if not (args.gguf or args.push_to_hub):
        raise UsageError(
            "nothing to do: give --gguf TYPE --out FILE, or --push-to-hub OWNER/NAME, or both"
        )
    if bool(args.gguf) != bool(args.out):
        raise UsageError("--gguf TYPE and --out FILE go together: the type and the file to write")
    from autoprune.models.pushing import check_push, push_to_hub

    if args.push_to_hub:
        check_push(args.push_to_hub)
    record: dict[str, Any] = {"model": args.model, "hub": args.push_to_hub}
    with open_screen(quiet=args.quiet):
        if args.gguf:
            from autoprune.models.gguf_writing import export_gguf

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
            what = Path(record["file"]) if args.gguf else _folder(args.model)
            record["commit"] = push_to_hub(args.push_to_hub, what, private=args.private)
    emit(args, record, pairs(*_lines(record)))
    return 0


def _folder(model: str) -> Path:
    from autoprune.errors import UsageError

    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{model!r} is no folder of a saved model, and only one is sent as it is; prune it "
            "first, or add --gguf TYPE --out FILE"
        )
    return folder


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
        lines.append(("next", f"autoprune evaluate {record['file']} --suite lm,cost"))
    return lines
