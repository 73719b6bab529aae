"""``autoprune sandbox``: build and check the container that designed code runs in."""

import argparse
import dataclasses
from pathlib import Path

from autoprune.errors import UsageError
from flows.doctor.checks import check_rows
from flows.terminal.output import emit, pairs
from sandbox.image import ensure_image
from sandbox.preflight import preflight


def run(args: argparse.Namespace) -> int:
    """Build or check, and print what was found."""
    others = ("runtime",) if args.action == "build" else ("base", "wheels")
    for name in others:
        if getattr(args, name):
            other = "check" if args.action == "build" else "build"
            raise UsageError(
                f"--{name} goes with `autoprune sandbox {other}`, not with {args.action}; leave it "
                "out"
            )
    return _build(args) if args.action == "build" else _check(args)


def _build(args: argparse.Namespace) -> int:
    if args.image != "dockerfile" and (args.base or args.wheels):
        raise UsageError("--base and --wheels go with --image dockerfile; add it or leave them out")
    wheels = Path(args.wheels) if args.wheels else None
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise UsageError(
            f"{wheels} holds no .whl files; fill it with pip download, or leave it out"
        )
    image = ensure_image(args.image, base=args.base, wheels=wheels)
    record = {"ok": True, "image": image.tag}
    emit(args, record, pairs(("image", image.tag), ("next", "autoprune demo")))
    return 0


def _check(args: argparse.Namespace) -> int:
    checks = preflight(args.image, runtime=args.runtime)
    ok = all(check.ok for check in checks)
    emit(
        args,
        {"ok": ok, "checks": [dataclasses.asdict(check) for check in checks]},
        check_rows(checks),
    )
    return 0 if ok else 4
