"""``autoprune compact``: a pruned folder without its zeros, and back."""

import argparse
import time
from pathlib import Path
from typing import Any

from flows.terminal.option_types import add_overwrite
from flows.terminal.output import emit, pairs

NAME = "compact"
HELP = "store a pruned model without its zeros, lossless, and back"
DESCRIPTION = (
    "Write a pruned model's folder without its zeros, read it back and compare every bit. A folder "
    "that is compact already is turned back into the one that `from_pretrained` opens, byte for "
    "byte. Tensors that are not sparse stay as they are."
)
EXAMPLE = "autoprune compact pruned pruned-compact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "places",
        nargs="*",
        metavar="MODEL OUT",
        help="folder of a saved model, or of a compact one, and the folder to write",
    )
    parser.add_argument("--model", metavar="MODEL", help="the same as MODEL")
    parser.add_argument("--out", metavar="OUT", help="the same as OUT")
    add_overwrite(parser, "a saved model that lies in OUT")
    parser.add_argument(
        "--encoding",
        choices=("bitmask", "csr"),
        help="a bit per weight (default), or rows and columns, smaller above about 94 %% zeros",
    )


def run(args: argparse.Namespace) -> int:
    """Encode or decode, check, and print the sizes."""
    from autoprune.checkpoint.compact import is_compact
    from autoprune.errors import UsageError
    from autoprune.targets import check_folder

    source, out = _places(args)
    _check_folder(source)
    check_folder(out, sources=[source], overwrite=args.overwrite)
    if not is_compact(source):
        record = _write(source, out, args.encoding or "bitmask")
    elif args.encoding is None:
        record = _expand(source, out)
    else:
        raise UsageError(
            f"--encoding {args.encoding} is for writing a compact folder, and {str(source)!r} is "
            "one already, so it is turned back; leave the option out"
        )
    emit(args, record, _text(record))
    return 0


def _places(args: argparse.Namespace) -> tuple[Path, Path]:
    """Model and target, each a word or an option."""
    from autoprune.errors import UsageError

    words = list(args.places)
    found = [words.pop(0) if given is None and words else given for given in (args.model, args.out)]
    if words or None in found:
        wrong = f"{words[0]!r} is one folder too many" if words else "a folder is missing"
        raise UsageError(f"{wrong}; write `autoprune compact MODEL OUT`")
    source, out = (Path(str(place)).expanduser() for place in found)
    return source, out


def _check_folder(source: Path) -> None:
    from autoprune.errors import UsageError

    if not source.is_dir():
        raise UsageError(
            f"{str(source)!r} is no folder; give one that `autoprune prune --out` or "
            "`save_pretrained` wrote (a GGUF or hub model is pruned first)"
        )


def _write(source: Path, out: Path, encoding: str) -> dict[str, Any]:
    from autoprune.checkpoint.compact import require_equal, write_compact

    size = write_compact(source, out, encoding=encoding)
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


def _expand(source: Path, out: Path) -> dict[str, Any]:
    from autoprune.checkpoint.compact import expand_compact, require_equal

    started = time.perf_counter()
    expand_compact(source, out)
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
        f"autoprune evaluate {record['out']}"
        if back
        else f"autoprune compact {record['out']} {record['out']}-dense"
    )
    return pairs(*lines, ("next", follow))
