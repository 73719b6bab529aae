"""``autoprune sandbox``: build and check the container that designed code runs in."""

import argparse
import dataclasses
from pathlib import Path

from flows.doctor.checks import check_rows
from flows.doctor.sandbox_params import SandboxParams
from flows.terminal.output import emit, pairs
from sandbox.image import ensure_image
from sandbox.preflight import preflight


def run(args: argparse.Namespace, params: SandboxParams) -> int:
    """Build or check, and print what was found."""
    return _build(args, params) if params.action == "build" else _check(args, params)


def _build(args: argparse.Namespace, params: SandboxParams) -> int:
    wheels = Path(params.wheels) if params.wheels else None
    image = ensure_image(params.image, base=params.base, wheels=wheels)
    record = {"ok": True, "image": image.tag}
    emit(args, record, pairs(("image", image.tag), ("next", "autoprune demo")))
    return 0


def _check(args: argparse.Namespace, params: SandboxParams) -> int:
    checks = preflight(params.image, runtime=params.runtime)
    ok = all(check.ok for check in checks)
    emit(
        args,
        {"ok": ok, "checks": [dataclasses.asdict(check) for check in checks]},
        check_rows(checks),
    )
    return 0 if ok else 4
