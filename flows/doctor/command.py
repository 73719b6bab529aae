"""``autoprune doctor``: is everything there that a run needs? And the sandbox's image."""

import argparse
from pathlib import Path

from autoprune.errors import UsageError
from flows.doctor.checks import all_checks, check_rows
from flows.terminal.output import emit, pairs
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Run every check and print the list, or build the image."""
    if args.build != "dockerfile" and (args.base or args.wheels):
        raise UsageError("--base and --wheels go with --build dockerfile")
    if args.build is not None:
        return _build(args)
    state = State.open()
    checks = all_checks(state, ask=args.ask, runtime=args.runtime)
    ok = all(check.ok for check in checks)
    record = {
        "ok": ok,
        "checks": [
            {"name": check.name, "ok": check.ok, "detail": check.detail, "fix": check.fix}
            for check in checks
        ],
    }
    begun = bool(state.run_ids())
    follow = "autoprune search MODEL" if begun else "autoprune demo"
    emit(args, record, check_rows(checks, follow))
    return 0 if ok else 4


def _build(args: argparse.Namespace) -> int:
    """Build the image that designed code runs in."""
    if args.runtime:
        raise UsageError("--runtime is for the checks; leave it out, or leave out --build")
    wheels = Path(args.wheels) if args.wheels else None
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise UsageError(
            f"{wheels} holds no .whl files; fill it with pip download, or leave it out"
        )
    # Imports docker, which may not be installed.
    from sandbox.image import ensure_image

    image = ensure_image(args.build, base=args.base, wheels=wheels)
    emit(
        args,
        {"ok": True, "image": image.tag},
        pairs(("image", image.tag), ("next", "autoprune demo")),
    )
    return 0
