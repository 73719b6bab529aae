"""``autoprune instruct``: training sets and dated test sets out of raw threads."""

import argparse
from pathlib import Path
from typing import Any

from flows.terminal.option_types import add_overwrite, positive_number, separated, word_or_form
from flows.terminal.output import emit, pairs

NAME = "instruct"
HELP = "make a training set, or a dated test set, out of a forum's threads"
DESCRIPTION = (
    "build: a language model sorts the threads of RAW.jsonl, chooses the replies that solve them "
    "and rewrites each twice; what both rewrites agree on, up to the day --until, becomes a "
    "training set of conversations. bench: the same from the day --from on, as a window of dated "
    "questions that the suite live reads. Every answer is kept at once: the same command goes on "
    "where it stopped and pays nothing twice."
)
EXAMPLE = "autoprune instruct build threads.jsonl --until 2023-12 --out train --designer local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("build", "bench"), help="what to make")
    parser.add_argument(
        "raw",
        metavar="RAW.jsonl",
        help='threads, one a line: {"id": "7", "date": "2023-05-01", "posts": ["question", '
        '"reply"]}',
    )
    parser.add_argument(
        "--until", metavar="DATE", help="last day, such as 2023-12; what may be younger is left out"
    )
    parser.add_argument(
        "--from",
        dest="since",
        metavar="DATE",
        help="first day, such as 2024-01; what may be older is left out",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="build: the folder to write; bench: the folder of windows (default: the one where the "
        "suite live looks)",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "parquet"),
        default="jsonl",
        help="of the file (default jsonl)",
    )
    add_overwrite(parser, "a set or window that lies there")
    clean = parser.add_argument_group("hygiene")
    clean.add_argument(
        "--references",
        metavar="REF[,REF]",
        type=separated(str),
        default=[],
        help="texts that no item may share words with, such as benchmark.jsonl#question",
    )
    clean.add_argument(
        "--overlap-words",
        type=positive_number,
        metavar="N",
        help="so many words in a row leave an item out (default: build 10, bench 8)",
    )
    model = parser.add_argument_group("designer")
    model.add_argument(
        "--designer",
        type=word_or_form(("auto", "openai", "local"), ("files:DIR",)),
        default="auto",
        metavar="NAME",
        help="who rewrites: auto (the endpoint of OPENAI_BASE_URL or OPENAI_API_KEY when set, else "
        "the local model), openai, local, or files:DIR, a person or agent who answers in DIR",
    )
    model.add_argument(
        "--designer-model",
        metavar="NAME[,NAME]",
        help="model at the endpoint, of two the second writes the second rewrite; of local a .gguf "
        "file",
    )
    model.add_argument("--base-url", metavar="URL", help="address of the endpoint, ends in /v1")
    model.add_argument(
        "--answer-tokens",
        type=positive_number,
        default=2048,
        metavar="N",
        help="limit of one answer, thoughts included (default 2048)",
    )
    model.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        metavar="T",
        help="of the rewrites, above 0 so that the two differ (default 0.7)",
    )


def run(args: argparse.Namespace) -> int:
    """Make the set and print what came of every thread."""
    job = _job(args)
    from flows.instructing import instruct
    from flows.terminal.console import open_screen

    with open_screen(quiet=args.quiet):
        record = instruct(job)
    emit(args, record, pairs(*_lines(job, record)))
    return 0


def _job(args: argparse.Namespace) -> Any:
    from autoprune.errors import UsageError
    from flows.instructing import Job
    from tasks.state import State

    build = args.action == "build"
    if build and (args.until is None or args.out is None or args.since is not None):
        raise UsageError(
            "build takes --until DATE and --out DIR, and no --from; write `autoprune instruct "
            "build RAW.jsonl --until 2023-12 --out train`"
        )
    if not build and args.since is None:
        raise UsageError(
            "bench takes --from DATE; write `autoprune instruct bench RAW.jsonl --from 2024-01`"
        )
    if not 0.0 < args.temperature <= 2.0:
        raise UsageError(f"--temperature {args.temperature:g} is not above 0 and at most 2")
    if not 16 <= args.answer_tokens <= 8192:
        raise UsageError(f"--answer-tokens {args.answer_tokens} is not between 16 and 8192")
    named = args.designer_model or ""
    models = [named] if args.designer == "local" and named else named.split(",")
    models = [model.strip() for model in models if model.strip()]
    if len(models) > 2 or len(set(models)) < len(models):
        raise UsageError(f"--designer-model {named} is not one name, or two that differ")
    out = Path(args.out).expanduser() if args.out else State.open().live
    return Job(
        args.action, Path(args.raw).expanduser(), out, args.since, args.until, args.format,
        args.overwrite, args.references, args.overlap_words or 0, args.designer, models,
        args.base_url, args.answer_tokens, args.temperature, args.seed,
    )  # fmt: skip


def _lines(job: Any, record: dict[str, Any]) -> list[tuple[str, Any]]:
    left_out = ", ".join(f"{count} {reason}" for reason, count in record["rejected"].items())
    lines = [
        ("kept", f"{record['kept']} of {record['rows']} threads"),
        ("left out", left_out or "none"),
        ("asked", f"{record['asked']} questions, {record['known']} were on record"),
        ("saved", record["file"]),
    ]
    if record["share_8_words"]:
        near = f"{record['share_8_words']} items share 8 words in a row with a reference"
        lines.insert(2, ("note", f"{near}; --overlap-words 8 leaves them out"))
    follow = "autoprune evaluate MODEL --suite live --cutoff DATE"
    if job.action == "build":
        follow = f"autoprune compare MODEL --calibration-text aligned={record['file']}"
    elif not job.usual_place:
        follow += f" --live-file {job.out}"
    return [*lines, ("next", follow)]
