"""Where a run came from: versions, machine, code; never keys, never personal paths."""

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoprune.numerics import environment

if TYPE_CHECKING:
    from autoprune.report.data import RunReport


def run_tags(report: "RunReport") -> dict[str, str]:
    """Tags of a parent run."""
    tags = {
        "model": report.model,
        "model.digest": report.model_digest,
        "designer": report.designer,
        "seed": str(report.spec["seed"]),
        "text_split": str(report.spec.get("text_split", report.spec["seed"])),
        "quantised": report.quantised,
    }
    known = report.sealed_set
    if known is not None:
        tags |= {"sealed.number": str(known.number), "sealed.earlier": str(known.earlier)}
    tags |= {f"{split.name}.digest": split.digest for split in report.splits}
    return _versions(report.machine) | tags | commit()


def here_tags() -> dict[str, str]:
    """Tags of a run that describe what ran it: versions, this machine, the commit."""
    return _versions(environment()) | commit()


def _versions(named: Mapping[str, str]) -> dict[str, str]:
    return {f"version.{name}": value for name, value in named.items()}


def code_commit() -> str | None:
    """Commit of the program's source, marked if it was changed; None when installed."""
    known = commit()
    if not known:
        return None
    return known["git.commit"] + (" with changes" if known["git.dirty"] == "true" else "")


@functools.cache
def commit() -> dict[str, str]:
    """Commit of the program's own source and whether it was changed; empty when installed."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return {}
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git.commit": head, "git.dirty": str(bool(dirty)).lower()}


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
