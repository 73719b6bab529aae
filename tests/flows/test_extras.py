"""What works without the extras of the package, and what is answered where one is missing."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from autoprune.errors import PrerequisiteError
from autoprune.models.reference import DEMO_MODEL
from flows.extras import EXTRA_OF, with_extra
from tasks.run_files import RunFiles
from tasks.state import State

PROJECT = Path(__file__).parents[2]
# Importing a module, or a part of it, raises; asking whether it is installed says no.
PROGRAM = """
import contextlib, io, json, sys
missing, lines = json.loads(sys.argv[1])
for name in missing:
    sys.modules[name] = None
from flows.cli import main
for line in lines:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
# What pruning and comparing from Python import, all of it.
ROOMS = """
import importlib, pkgutil
for room in ("api", "comparison", "streaming", "report"):
    found = importlib.import_module(f"autoprune.{room}")
    for part in pkgutil.walk_packages(getattr(found, "__path__", ()), found.__name__ + "."):
        if not part.name.endswith("peer_llm_compressor"):  # for the interpreter of a peer
            importlib.import_module(part.name)
"""
# All packages of the two extras that most commands need.
PLATFORM = [module for module, extra in EXTRA_OF.items() if extra == "platform"]
SEARCH = [module for module, extra in EXTRA_OF.items() if extra == "search"]


def answers(
    folder: Path, missing: list[str], lines: list[str], more: str = ""
) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of command lines in a process without some packages."""
    own = {"PYTHONPATH": str(PROJECT), "AUTOPRUNE_HOME": str(folder / "state")}
    others = {name: text for name, text in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + more, json.dumps([missing, lines])],
        env=others | own,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert (done.returncode, len(found)) == (0, len(lines)), done.stderr
    return found


def project() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(lines: list[str]) -> set[str]:
    return {Requirement(line).name for line in lines} - {"autoprune"}


def test_every_package_of_an_extra_is_known_by_it() -> None:
    extras = project()["optional-dependencies"]
    listed = {
        (name.replace("-", "_"), extra)
        for extra in set(EXTRA_OF.values())
        for name in names(extras[extra])
    }
    assert listed == set(EXTRA_OF.items())


def test_no_package_of_an_extra_is_needed_by_all() -> None:
    core = {name.replace("-", "_") for name in names(project()["dependencies"])}
    assert {"torch", "transformers", "datasets", "pyarrow"} <= core
    assert not core & set(EXTRA_OF)


def test_install_takes_all_extras_but_ray() -> None:
    rule = (PROJECT / "Makefile").read_text(encoding="utf-8")
    wanted = rule.partition("-e '.[")[2].partition("]'")[0].split(",")
    assert rule.count(f"'.[{','.join(wanted)}]'") == 2, "`make hashes` asks for the same"
    assert set(wanted) == set(project()["optional-dependencies"])


# Stands for Python. The interpreter that it makes is pip alone, and waits for the other pip.
STAND_IN = r"""#!/bin/sh
[ "$2" = venv ] || exit 0
mkdir -p $3/bin
cat > $3/bin/python <<END
#!/bin/sh
touch ran.\$\$
for turn in $TURNS; do
    set -- ran.*
    [ \$# -gt 1 ] && exit 0
    sleep 0.1
done
exit ${ALONE}
END
chmod +x $3/bin/python
"""


@pytest.mark.parametrize("side_by_side", [True, False])
def test_both_pips_of_an_installation_wait_for_the_venv_and_not_for_each_other(
    side_by_side: bool, tmp_path: Path
) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-demo.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    turns = " ".join(map(str, range(300))) if side_by_side else "1"
    own = {"TURNS": turns, "ALONE": "1" if side_by_side else "0"}
    # Neither options nor jobs of the make that runs the tests.
    plain = {name: text for name, text in os.environ.items() if not name.startswith("M")}
    command = ["make", *(["-j", "2"] if side_by_side else []), "install", f"PYTHON={python}"]
    for pips in (2, 0):
        done = subprocess.run(
            command, cwd=tmp_path, env=plain | own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob("ran.*"))) == pips, done.stdout
        for ran in tmp_path.glob("ran.*"):
            ran.unlink()


# Stands for the Python of the venv: its pip notes its arguments, and finds torch and the project.
PIP_OF_VENV = r"""#!/bin/sh
if [ "$1" != -m ]; then exec python3 "$@"; fi
echo "$@" >> asked
while [ $# -gt 0 ]; do
    if [ "$1" = --report ]; then cat > "$2" <<END
{"install": [
  {"metadata": {"name": "torch", "version": "2.0+cpu", "summary": "{}"},
   "download_info": {"url": "u", "archive_info": {"hashes": {"sha256": "aa"}}}},
  {"metadata": {"name": "autoprune", "version": "1"},
   "download_info": {"url": "file:///here", "dir_info": {}}}]}
END
    fi
    shift
done
"""


def test_an_installation_by_hash_takes_what_was_found_and_nothing_else(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-demo.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP_OF_VENV)
    python.chmod(0o755)
    plain = {name: text for name, text in os.environ.items() if not name.startswith("M")}
    for words in ("hashes", "install HASHES=hashes.txt"):
        subprocess.run(["make", *words.split()], cwd=tmp_path, env=plain, check=True, timeout=60)
    assert (tmp_path / "hashes.txt").read_text() == "torch==2.0+cpu --hash=sha256:aa\n"
    found, *installed = (tmp_path / "asked").read_text().splitlines()
    assert "--dry-run" in found and "-c constraints.txt" in found
    assert "--no-deps --require-hashes -r hashes.txt" in installed[0]
    # Torch where the file has none, and the project itself; nothing further is looked for.
    assert installed[1].endswith("--no-deps -c constraints.txt torch")
    assert "--no-deps -e .[" in installed[2] and "constraints.txt" not in installed[2]


def test_the_file_of_hashes_is_of_the_versions_that_are_proved() -> None:
    def versions(file: str) -> dict[str, str]:
        lines = [line for line in (PROJECT / file).read_text().splitlines() if "==" in line]
        pairs = (line.split()[0].split("==") for line in lines)
        return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}

    hashed = versions("hashes-linux-x86_64-cp311.txt")
    assert hashed == {k: v for k, v in versions("constraints.txt").items() if k != "torch"}


def test_commands_without_the_platform_name_it(tmp_path: Path) -> None:
    (tmp_path / "metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    # Names are looked up first: a search and a store of MLflow.
    run = RunFiles.of(State(tmp_path / "state"), "r")
    run.folder.mkdir(parents=True)
    for file in (run.log, State(tmp_path / "state").tracking_database):
        file.touch()
    lines = [
        f"search --model {DEMO_MODEL}",
        f"prune {DEMO_MODEL} --metric wanda",
        f"evaluate {DEMO_MODEL}",
        f"compare {DEMO_MODEL}",
        "demo",
        "validate metric.py",
        "reproduce r C1",
        "up",
        "doctor --build",
        "ls candidates",
    ]
    for line, (code, _, errors) in zip(lines, answers(tmp_path, PLATFORM, lines), strict=True):
        assert code == 4, (line, errors)
        assert errors.endswith("type: pip install 'autoprune[platform]'\n"), (line, errors)
        assert f"`autoprune {line.split()[0]}` needs it" in errors


def test_a_search_without_its_packages_names_them(tmp_path: Path) -> None:
    [(code, _, errors)] = answers(tmp_path, SEARCH, [f"search --model {DEMO_MODEL}"])
    assert code == 4
    assert errors.endswith("type: pip install 'autoprune[search]'\n")
    assert not (tmp_path / "state").exists(), "the search began"


def test_what_needs_no_extra_works_without_and_doctor_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    lines = ["--help", "ls metrics", "ls suites", "ls corpora", "ls models", "down", "up --help"]
    *found, (code, out, errors) = answers(tmp_path, list(EXTRA_OF), [*lines, "doctor"], ROOMS)
    for line, (ended, shown, complaint) in zip(lines, found, strict=True):
        assert ended == 0 and shown, (line, complaint)
    assert code == 4, errors
    for module, extra in (("openai", "search"), ("docker", "platform")):
        assert f"{module} is missing\n" in out, out
        assert f"do: pip install 'autoprune[{extra}]'" in out
    assert "disk" in out and "python" in out


def test_a_missing_package_of_ours_or_of_others_stays_what_it_is() -> None:
    for error in (ModuleNotFoundError("x", name="flows.none"), ImportError("x"), KeyError("x")):
        assert with_extra(error, "search") is error
    deep = ModuleNotFoundError("x", name="mlflow.entities")
    assert isinstance(with_extra(deep, "search"), PrerequisiteError)
