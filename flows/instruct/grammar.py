"""Grammar of ``autoprune instruct``."""

import argparse
from pathlib import Path

from autoprune.errors import UsageError
from flows.terminal.option_types import add_overwrite, positive_number, separated, word_or_form

DESCRIPTION = """\
build: a language model sorts the threads of RAW.jsonl, chooses the replies that
solve them and rewrites each reply twice. What both rewrites agree on, up to the
day --until, becomes a training set of conversations.

bench: do the same from the day --from on, and write a window of dated questions
that the suite live reads.

Every answer is saved immediately: the same command continues where it stopped
and pays for nothing twice.
"""
EXAMPLE = "autoprune instruct build threads.jsonl --until 2023-12 --out train --designer local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.set_defaults(seed=0)
    parser.add_argument("action", choices=("build", "bench"), help="what to make")
    parser.add_argument(
        "raw",
        metavar="RAW.jsonl",
        help='threads, one a line: {"id": "7", "date": "2023-05-01", "posts": ["question", '
        '"reply"]}',
    )
    parser.add_argument(
        "--until", metavar="DATE", help="last day, such as 2023-12; what may be later is left out"
    )
    parser.add_argument(
        "--from",
        dest="since",
        metavar="DATE",
        help="first day, such as 2024-01; what may be earlier is left out",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="build: folder to write; bench: folder of windows (default: where the suite live "
        "looks)",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "parquet"),
        default="jsonl",
        help="file format (default jsonl)",
    )
    add_overwrite(parser, "an existing set or window")
    clean = parser.add_argument_group("hygiene")
    clean.add_argument(
        "--references",
        metavar="REF[,REF]",
        type=separated(str),
        default=[],
        help="texts that no item may overlap with, such as benchmark.jsonl#question",
    )
    clean.add_argument(
        "--overlap-words",
        type=positive_number,
        metavar="N",
        help="leave out items that share N words in a row (default: build 10, bench 8)",
    )
    model = parser.add_argument_group("designer")
    model.add_argument(
        "--designer",
        type=word_or_form(("auto", "openai", "local"), ("files:DIR",)),
        default="auto",
        metavar="NAME",
        help="who rewrites; auto: the endpoint of OPENAI_BASE_URL or OPENAI_API_KEY if set, else "
        "the local model; openai; local; files:DIR: a person or agent who answers in DIR (default "
        "auto)",
    )
    model.add_argument(
        "--designer-model",
        metavar="NAME[,NAME]",
        help="model at the endpoint; of two, the second writes the second rewrite; with local: a "
        ".gguf file",
    )
    model.add_argument("--base-url", metavar="URL", help="address of the endpoint; ends in /v1")
    model.add_argument(
        "--answer-tokens",
        type=positive_number,
        default=2048,
        metavar="N",
        help="token limit of one answer, reasoning included (default 2048)",
    )
    model.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        metavar="T",
        help="sampling temperature of the rewrites, above 0 so that they differ (default 0.7)",
    )


def read(args: argparse.Namespace) -> list[str]:
    """Return the designer's models; all options go together, and the threads are there.

    Raises:
        UsageError: If one is out of range or missing.
    """
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
    if not Path(args.raw).expanduser().is_file():
        raise UsageError(
            f"{args.raw} does not exist; pass a .jsonl file of threads, one object a line"
        )
    return models
