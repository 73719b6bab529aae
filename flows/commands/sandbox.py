"""``autoprune sandbox``: build and check the container that designed code runs in."""

import argparse
import dataclasses

from flows.output import emit, pairs

NAME = "sandbox"
HELP = "build or check the sandbox image"
DESCRIPTION = (
    "build: make the sandbox image from what is on this machine, without a registry. "
    "check: say whether Docker and the image are ready."
)
EXAMPLE = "autoprune sandbox build"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("build", "check"), help="what to do")
    parser.add_argument(
        "--image",
        choices=("auto", "bind", "interpreter", "dockerfile"),
        default="auto",
        help="what the image is made from (default auto)",
    )


def run(args: argparse.Namespace) -> int:
    """Build or check, and print what was found."""
    return _build(args) if args.action == "build" else _check(args)


def _build(args: argparse.Namespace) -> int:
    from sandbox.image import ensure_image

    image = ensure_image(args.image)
    record = {"ok": True, "image": image.tag}
    emit(args, record, pairs(("image", image.tag), ("next", "autoprune demo")))
    return 0


def _check(args: argparse.Namespace) -> int:
    from flows.checks import check_rows
    from sandbox.preflight import preflight

    checks = preflight(args.image)
    ok = all(check.ok for check in checks)
    emit(
        args,
        {"ok": ok, "checks": [dataclasses.asdict(check) for check in checks]},
        check_rows(checks),
    )
    return 0 if ok else 4
