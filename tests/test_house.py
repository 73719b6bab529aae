"""The house rules that a machine can check: short files, speaking names, no machine paths."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 400
OURS = {"autoprune", "flows", "sandbox", "tasks"}
PYTHONS = sys.stdlib_module_names
# What a function may import from our own packages and the standard library, and why. All else
# comes in at the top, by a lazy door (`autoprune.lazy`) or by `flows.cli.loading`, which alone
# import what a text names.
LATE_IMPORTS = {
    "flows/contention.py: sandbox.processors": "docker may be missing",
    "flows/doctor/checks.py: flows.doctor.designer_ready": "openai may be missing",
    "flows/doctor/checks.py: sandbox.preflight": "docker may be missing",
    "flows/doctor/command.py: sandbox.image": "docker may be missing",
    "flows/doctor/designer_ready.py: autoprune.search.spec": "torch, seldom needed there",
    "flows/doctor/designer_ready.py: tasks.design": "Prefect may be missing",
    "flows/ls/listings.py: tasks.mirror": "Prefect may be missing",
    "flows/ls/listings.py: tasks.report": "Prefect may be missing",
    "flows/nightly/nights.py: tasks.text_split": "`autoprune down` works without Prefect",
    "flows/platform/stale_runs.py: tasks.mirror": "takes seconds, and is seldom needed",
    "flows/runners.py: flows.local_dask": "dask may be missing",
    "flows/search/flow.py: flows.search.publishing": "who looks for the hooks loads no torch",
    "flows/search/flow.py: flows.search.opening": "who looks for the flow's hooks loads no torch",
    "flows/search/flow.py: flows.search.stopping": "who looks for the hooks loads no torch",
    "flows/resume/flow.py: flows.resume.staging": "who looks for the flow's hooks loads no torch",
    "sandbox/client.py: sandbox.probe_blocks": "torch, which nothing else there needs",
    "sandbox/worker/zygote.py: .": "what fails there is sent to the broker",
    "sandbox/worker/zygote.py: .syscalls": "what fails there is sent to the broker",
    "tasks/track/served_model.py: autoprune.models.widths": "AutoPrune may be missing",
}
# Files that import by a name in a variable: the lazy doors, the commands, and packages of others.
BY_NAME = {
    "lazily(__name__": {
        "autoprune/__init__.py",
        "flows/compare/__init__.py",
        "flows/demo/__init__.py",
        "flows/evaluate/__init__.py",
        "flows/nightly/__init__.py",
        "flows/promote/__init__.py",
        "flows/prune/__init__.py",
        "flows/reproduce/__init__.py",
        "flows/search/__init__.py",
        "flows/resume/__init__.py",
        "flows/library.py",
        "tasks/track/__init__.py",
    },
    "import_module(": {
        "autoprune/lazy.py",
        "autoprune/models/gguf_types.py",
        "flows/cli/loading.py",
    },
}
VAGUE_NAMES = {"utils", "helpers", "manager", "common", "misc", "util", "helper"}


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


SOURCES = [path for path in tracked_files() if path.suffix in {".py", ".sh", ".j2"}]
TEXTS = [
    path
    for path in tracked_files()
    if path.suffix in {".py", ".sh", ".j2", ".md", ".toml", ".yaml", ".yml", ".txt", ".html"}
]


def test_sources_are_found() -> None:
    assert len(SOURCES) > 50


def test_files_are_short_and_well_named() -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in SOURCES}
    long = {str(path): count for path, count in lines.items() if count > LONGEST_FILE}
    assert not long, "split them by subject"
    vague = [str(path) for path in SOURCES if path.stem in VAGUE_NAMES]
    assert not vague, "name the subject"


def test_no_machine_paths() -> None:
    # Spelled in two parts so that this file does not find itself.
    pattern = re.compile(r"/(?:work" + r"/|root" + r"/|home/[a-z])")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_tests_share_code_by_a_package_alone() -> None:
    # Neither another test's module nor a folder put on the path: both hang on where pytest starts.
    pattern = re.compile(r"^\s*(?:from|import) test_|^\s*sys\.path\.", re.MULTILINE)
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES if "tests" in path.parts}
    assert len(texts) > 50
    assert [str(path) for path, text in texts.items() if pattern.search(text)] == []


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def late_imports(path: Path) -> set[str]:
    """Modules of our own and of Python that a file imports in its functions."""
    outer = [one for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, FUNCTIONS)]
    found = set()
    for node in (inner for one in outer for inner in ast.walk(one)):
        if isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] in {"", *OURS, *PYTHONS}}


def test_our_own_packages_and_pythons_are_imported_at_the_top() -> None:
    ours = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in OURS]
    ours = [path for path in ours if path.suffix == ".py"]
    found = {f"{path.relative_to(ROOT)}: {name}" for path in ours for name in late_imports(path)}
    assert found == set(LATE_IMPORTS), "docs/ARCHITECTURE.md says what the borders are"
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ours}
    for call, files in BY_NAME.items():
        assert {name for name, text in texts.items() if call in text} == files
