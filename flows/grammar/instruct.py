"""Grammar of ``autoprune instruct``."""

import argparse

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
