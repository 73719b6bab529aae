"""The checks of ``autoprune doctor``, each with a fix for what is wrong."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from autoprune.errors import AutopruneError, reason_of
from autoprune.models.reference import DEMO_MODEL, resolve
from autoprune.numerics import package_version
from autoprune.text.wikipedia import sample_file
from flows.contention import free_processors
from flows.doctor.finding import Finding, Line
from flows.doctor.health import platform_findings
from flows.extras import missing_extra
from tasks.state import State

PACKAGES = ("torch", "transformers", "prefect", "mlflow", "docker", "openai", "pyarrow")
FREE_BYTES = 5 * 10**9


def all_checks(state: State, *, ask: bool = False, runtime: str | None = None) -> list[Line]:
    """Run every check, in the order in which a newcomer would fix them."""
    found: list[Line] = [_python(), _packages(), _demo_model(), _demo_corpus()]
    found.append(_tried("designer", lambda: _answering(state, ask)))
    found += [_accelerator(), _processors(), _disk(state), _stores(state)]
    found += _platform(state)
    found += _sandbox(runtime)
    return found


def check_rows(checks: Sequence[Line], follow: str = "autoprune demo") -> str:
    """Format findings as aligned lines, each fix below its problem."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.detail}")
        if not check.ok and check.fix:
            lines.append(f"      {'':<{width}}  do: {check.fix}")
    wrong = sum(not check.ok for check in checks)
    lines.append(f"next  {f'fix the {wrong} above' if wrong else follow}")
    return "\n".join(lines)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    number = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", ok, number, "" if ok else "install Python 3.11 or newer")


def _packages() -> Finding:
    seen, wrong = [], []
    for package in PACKAGES:
        found = package_version(package, "")
        if not found:
            wrong.append(f"{package} is missing")
            continue
        seen.append(f"{package} {found}")
        if not _wanted(package).contains(found, prereleases=True):
            wrong.append(f"{package} {found} is not {_wanted(package)}")
    if wrong:
        fix = "make install, or pip install 'autoprune[search,platform]'"
        return Finding("packages", False, "; ".join(wrong), fix)
    return Finding("packages", True, ", ".join(seen))


def _wanted(package: str) -> SpecifierSet:
    """Return the versions that our own package requires."""
    try:
        lines = [Requirement(line) for line in requires("autoprune") or ()]
    except PackageNotFoundError:
        return SpecifierSet()
    return next((line.specifier for line in lines if line.name == package), SpecifierSet())


def _demo_model() -> Finding:
    return _tried("demo model", lambda: f"{resolve(DEMO_MODEL).digest[:16]}… as recorded")


def _demo_corpus() -> Finding:
    return _tried("demo text", lambda: f"{sample_file().stat().st_size / 1e6:.1f} MB")


def _answering(state: State, ask: bool) -> str:
    # Needs openai, which may not be installed.
    from flows.doctor.designer_ready import endpoint, local_designer

    if os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"):
        return endpoint()
    return local_designer(state, ask)


def _accelerator() -> Finding:
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    threads = f"{torch.get_num_threads()} threads"
    return Finding("device", True, threads if device is None else f"{device}, {threads}")


def _processors() -> Finding:
    """Report the load: a busy machine is not a fault, but work on it takes longer."""
    free, count, load = free_processors()
    return Finding("processors", True, f"{free:.1f} of {count} free, load {load:.1f}")


def _disk(state: State) -> Finding:
    free = shutil.disk_usage(state.root).free
    seen = f"{free / 1e9:.1f} GB free in {state.root}"
    ok = free >= FREE_BYTES
    return Finding("disk", ok, seen, "" if ok else "free some space or set AUTOPRUNE_HOME")


def _stores(state: State) -> Finding:
    wrong = []
    for path in (state.tracking_database, state.prefect / "prefect.db"):
        if path.exists():
            try:
                connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
                try:
                    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                finally:
                    connection.close()
            except sqlite3.DatabaseError as error:
                answer = str(error)
            if answer != "ok":
                wrong.append(f"{path}: {answer}")
    if wrong:
        return Finding("stores", False, "; ".join(wrong), "move the named file away; runs are kept")
    return Finding("stores", True, f"MLflow {state.tracking_place}, runs {len(state.run_ids())}")


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except AutopruneError as error:
        what, _, fix = str(error).partition("; ")
        return Finding(name, False, what, fix or "see the message")
    except ModuleNotFoundError as error:
        if lacking := _lacking(name, error):
            return lacking
        raise


def _platform(state: State) -> list[Finding]:
    try:
        return platform_findings(state)
    except Exception as error:
        if lacking := _lacking("prefect", error):
            return [lacking]
        # The server has another version, or dies while it is queried; that is the finding.
        words = reason_of(error)
        return [Finding("prefect", False, words, "autoprune down, then autoprune up")]


def _sandbox(runtime: str | None) -> Sequence[Line]:
    try:
        # Imports docker, which may not be installed.
        from sandbox.preflight import preflight
    except ModuleNotFoundError as error:
        if lacking := _lacking("docker", error):
            return [lacking]
        raise
    return preflight(runtime=runtime)


def _lacking(name: str, error: Exception) -> Finding | None:
    """Return a finding if one of our extras is not installed."""
    known = missing_extra(error)
    if known is None:
        return None
    return Finding(name, False, f"{known.module} is missing", known.install)
