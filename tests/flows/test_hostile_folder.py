"""No command, and no process that a command starts, imports from the folder it is typed in."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.design.local import LocalServer
from autoprune.errors import PrerequisiteError
from benchmarks import measured
from flows.cli.commands import COMMANDS
from tests.support.started_command import record_by_prefect

# Each writes a file when it is imported; the packages are ours, the files any program's.
PACKAGES = ("autoprune", "sandbox", "tasks", "flows", "prefect", "mlflow", "multiprocessing")
MODULES = ("json", "numpy", "torch", "sitecustomize", "signal", "uuid")
PLANT = """
import os, sys
with open(os.path.join({markers!r}, {name!r}), "a") as file:
    print(sys.argv, sys.orig_argv, file=file)
raise ImportError("a file of the current folder was imported")
"""
# What `pip install` makes of the entry point, the folder of the script on the path and not ours,
# which does every command in turn; and after each notes whether the folder is on the path, in which
# a module that an earlier command has imported would not show, or is for children.
SCRIPT = """import json, os, sys
from flows.cli import main
lines = [json.loads(line) for line in open(sys.argv[1])]
notes = open(sys.argv[2], "w")
for line in lines:
    os.environ["AUTOPRUNE_PREFECT"] = "on" if line[0] in {recorded!r} else "off"
    os.environ.pop("PYTHONSAFEPATH", None)
    code = main(line)
    places = sorted({{"", ".", os.getcwd()}} & set(sys.path))
    safe = os.environ.get("PYTHONSAFEPATH")
    found = [*places, *os.listdir({markers!r}), *([] if safe == "1" else ["children look there"])]
    print(json.dumps([line[0], code, found]), file=notes)
"""
# All that records goes through one function, which starts one server, as long as the command.
RECORDED = ("prune",)

WORDS = {
    "demo": ["--model", "./model"],
    "search": ["--model", "./model", "--sandbox", "off", "--designer", "random"],
    "prune": ["--model", "./model"],
    "evaluate": ["./model"],
    "compare": ["./model"],
    "compact": ["./model", "out"],
    "validate": ["metric.py"],
    "promote": ["--dry-run"],
    "reproduce": ["demo", "C1"],
    "export": ["./model", "--gguf", "q8_0", "--out", "model.gguf"],
    # Ends at the end of its input.
    "mcp": [],
    "rm": ["demo"],
    "doctor": [],
    # Refused once the ports are looked at, without servers that would have to be stopped.
    "up": ["--prefect-port", "{taken}", "--mlflow-port", "{taken}"],
    "down": [],
    "resume": ["demo"],
    "ls": ["metrics"],
    "inspect": ["./model"],
}


@pytest.fixture
def markers(tmp_path: Path) -> Path:
    """Where imports of the hostile folder show."""
    folder = tmp_path / "markers"
    folder.mkdir()
    return folder


@pytest.fixture
def hostile(tmp_path: Path, markers: Path) -> Path:
    """A folder with modules that must never be imported, and a metric's file."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(PLANT.format(markers=str(markers), name=name))
    for name in MODULES:
        (folder / f"{name}.py").write_text(PLANT.format(markers=str(markers), name=name))
    # A model by its look, so that commands go on until they load it.
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    return folder


def test_the_plants_would_show(hostile: Path, markers: Path) -> None:
    # A command that ran in this process before has switched the current folder off for children.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, "-c", "import json"]
    subprocess.run(command, cwd=hostile, env=environment, capture_output=True)
    assert [path.name for path in markers.iterdir()] == ["json"]


def test_every_command_has_words() -> None:
    assert set(WORDS) == set(COMMANDS)


def test_no_command_imports_from_the_current_folder(
    hostile: Path, markers: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_by_prefect(monkeypatch)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    script, lines, notes = (tmp_path / "bin" / name for name in ("autoprune", "lines", "notes"))
    script.parent.mkdir()
    script.write_text(SCRIPT.format(recorded=RECORDED, markers=str(markers)))
    names = list(COMMANDS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = [[name, *(word.format(taken=port) for word in WORDS[name])] for name in names]
        lines.write_text("".join(json.dumps(line) + "\n" for line in words))
        process = subprocess.Popen(
            [sys.executable, str(script), str(lines), str(notes)],
            cwd=hostile,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, err = process.communicate(timeout=400)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    done = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [name for name, *_ in done] == names, err
    assert [(name, found) for name, _, found in done if found] == [], err
    assert {path.name: path.read_text() for path in markers.iterdir()} == {}, err


def test_the_local_designer_imports_nothing_from_the_current_folder(
    hostile: Path, markers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(hostile)
    server = LocalServer(hostile / "no-model.gguf")
    with pytest.raises(PrerequisiteError, match="did not start"):
        server.start()
    assert not list(markers.iterdir())


def test_a_benchmarks_process_imports_nothing_from_the_current_folder(
    hostile: Path, markers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(measured, "ROOT", hostile)
    (hostile / "subject_of_this_test.py").write_text(
        "import sys\nfrom benchmarks.measured import report\nreport(words=sys.argv[1:])\n"
    )
    assert measured.run_fresh("subject_of_this_test", "a", "b")["words"] == ["a", "b"]
    assert not list(markers.iterdir())
