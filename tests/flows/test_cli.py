"""The command line: start-up, help, exit codes, and what goes to which stream."""

import gc
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import commands, loading
from flows.cli.commands import COMMANDS
from flows.cli.parser import parse
from flows.compact import command as compact
from flows.evaluate import text as evaluation_text
from flows.prune.params import PruneParams
from flows.reproduce import command as reproduce
from flows.validate import command as validate
from tests.support.command_line import PRUNE, CommandLine

HEAVY = ("torch", "transformers", "prefect", "mlflow", "docker", "numpy", "pydantic", "rich")
# What one process did after each step, heaviest last: help first, then lists, then the lazy doors.
STEPS = """
import json, os, sys
from flows.cli import main
from flows.cli.commands import COMMANDS

def loaded(heavy):
    return [name for name in heavy if name in sys.modules]

heavy, some, lists = {heavy!r}, {some!r}, {lists!r}
main(['--help'])
print(json.dumps([loaded(heavy), len(sys.modules)]), file=sys.stderr)
main(['--version'])
waits = [os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME']]
for name in COMMANDS:
    assert main([name, '--help']) == 0
print(json.dumps([loaded(some), waits]), file=sys.stderr)
import flows.library, flows.prune, flows.search, tasks.track
assert [main(['ls', what]) for what in ('runs', 'models', 'sealed')] == [0, 0, 0]
print(json.dumps([loaded(lists), 0]), file=sys.stderr)
"""


def test_help_lists_and_the_lazy_doors_are_light(tmp_path: Path) -> None:
    lists = HEAVY[:5]
    code = STEPS.format(heavy=HEAVY, some=(*lists, "huggingface_hub"), lists=lists)
    own = {"AUTOPRUNE_HOME": str(tmp_path), "KMP_BLOCKTIME": "5"}
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=plain | own, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [heavy for heavy, _ in found] == [[], [], []]
    # Seconds would be the machine's: about 160, and each of the heavy ones brings as many.
    assert found[0][1] < 300
    # Threads sleep where they wait, unless the user says otherwise.
    assert found[1][1] == ["PASSIVE", "5"]


def test_what_runs_a_command_is_imported_without_garbage_collections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enabled: list[bool] = []
    monkeypatch.setattr(loading, "import_module", lambda _: enabled.append(gc.isenabled()))
    loading.grammar("prune")
    assert enabled == [False] and gc.isenabled()
    # Where they were off, they stay off.
    gc.disable()
    loading.grammar("prune")
    found = gc.isenabled()
    gc.enable()
    assert not found


def test_every_command_has_its_grammar_and_what_runs_it() -> None:
    root = Path(str(commands.__file__)).parents[1]
    for part in ("grammar", "command"):
        files = [*root.glob(f"*/{part}.py"), *root.glob(f"*/*_{part}.py")]
        found = {f"flows.{path.parent.name}.{path.stem}" for path in files}
        assert found == {commands.module_of(name, part) for name in COMMANDS}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_teaches(name: str, cli: CommandLine) -> None:
    shown = cli(f"{name} --help").out
    assert f"example:\n  autoprune {name}" in shown
    for option in ("--json", "--quiet", "--verbose"):
        assert option in shown
    # Shown where it has an effect.
    assert ("--seed" in shown) == (name in commands.SEEDED)
    assert ("--device" in shown) == (name in commands.ON_DEVICE)


@pytest.mark.parametrize("words", ["--json", "-v", "--quiet --json", "-q --seed 3", "--seed=3"])
def test_options_of_every_command_may_precede_it(words: str) -> None:
    before, behind = (parse(line.split()) for line in (f"{words} prune m", f"prune m {words}"))
    assert before == behind and before.command == "prune"


def test_version_help_and_completion(cli: CommandLine) -> None:
    assert cli("--version").out.startswith("autoprune 0.")
    assert cli("version").out == cli("--version").out
    assert "autoprune rm evening" in cli("help rm").out
    cli("help")
    cli("help nothing", code=2)
    script = cli("--print-completion bash").out
    assert "--schedule" in script and "--also-sparsities" in script


def test_a_reader_that_stops_early_is_no_error() -> None:
    words = [sys.executable, "-m", "flows.cli", "--print-completion", "bash"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1


@pytest.mark.parametrize("what", ["metrics", "allocators", "repairs", "schemes", "suites"])
def test_lists_of_names_fit_the_screen(what: str, cli: CommandLine) -> None:
    shown = cli(f"ls {what}").out
    assert max(map(len, shown.splitlines())) <= 100
    assert all(item["name"] in shown for item in cli(f"ls {what} --json").record[what])


@pytest.mark.parametrize("what", ["schemes", "suites", "corpora", "models"])
def test_lists(what: str, cli: CommandLine) -> None:
    assert cli(f"ls {what} --json").record[what]
    assert cli(f"ls {what}").out.strip()


def test_results_go_to_stdout_and_progress_to_stderr(cli: CommandLine) -> None:
    line = "evaluate MODEL --corpus TEXT --measured-windows 3 --seqlen 32"
    assert {"perplexity", "tokens", "seconds"} <= set(cli(f"{line} --json").record)
    printed = cli(f"{line} -q")
    assert printed.err == "" and printed.out.splitlines()[-1].startswith("next")
    # What outside checks read.
    pruned = cli.record(f"{PRUNE} --seqlen 32")
    assert {"zeros", "prunable", "sparsity", "seconds", "peak_rss_mb"} <= set(pruned)


@pytest.mark.docker
def test_validate(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "metric.py"

    def validated(body: str, code: int, more: str = "") -> dict[str, object]:
        file.write_text(f"def score(W, stats, params):\n    return {body}\n")
        return cli(f"validate {file} --json {more}", code=code).record

    found = validated("W.abs() * stats['x_norm']", 0)
    assert (found["ok"], found["code"]) == (True, "ok")
    found = validated("W[0]", 3)
    assert (found["ok"], found["code"]) == (False, "wrong_shape")
    # It is offered what a search offers.
    found = validated("W.abs() * stats['grad_norm']", 3)
    offered = "stats has no 'grad_norm'; it has x_max, x_mean, x_norm, x_var"
    assert offered in str(found["detail"])
    assert "do without grad_norm" in cli(f"validate {file} --statistics x_norm,grad_norm").out
    cli.refuses(f"validate {file} --statistics grad", "did you mean grad_norm")


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    # Gone before the first word, so that there is nobody to read however quick it is.
    gone, pipe = os.pipe()
    os.close(gone)
    command = [sys.executable, "-m", "flows.cli", "down", "--json"]
    done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert done.returncode == 1 and done.stderr == ""


def test_prune_advises_to_look_at_no_sealed_set() -> None:
    for params in (PruneParams(model=PLACE), PruneParams(model=PLACE, corpus="my.jsonl")):
        assert params.measured_by.endswith(f" --corpus {params.corpus} --part selection")
    own = PruneParams(model=PLACE, corpus="self-generated", seqlen=32)
    assert own.measured_by == " --part selection --seqlen 32"
    for name, advised in ADVICE:
        words = shlex.split(advised().splitlines()[-1])
        if "evaluate" in words and "cost" not in words:
            assert words[words.index("--part") + 1] == "selection", name


ADVICE: list[tuple[str, Callable[[], str]]] = [
    ("compact", lambda: compact._text(COMPACT)),
    ("compact back", lambda: compact._text(COMPACT | {"direction": "expand"})),
    ("evaluate", lambda: evaluation_text._next({"model": PLACE, "against": None})),
    ("prune", lambda: PruneParams(model=PLACE, scheme="depth", sparsity=0.2).measured_by),
    ("reproduce", lambda: reproduce._text(REPRODUCED)),
    ("validate", lambda: str(validate._rejected(REJECTED)[-1][1])),
]
PLACE = "my folder/model"
COMPACT: dict[str, Any] = {
    "out": PLACE, "direction": "compact", "encoded": 1, "tensors": 1, "ratio": 0.5, "seconds": 1.0,
    "dense_bytes": 2, "compact_bytes": 1,
}  # fmt: skip
REPRODUCED = {
    "run": "r", "candidate": "C1", "match": True, "mask_digest": "", "mlflow_run": "", "out": PLACE
}  # fmt: skip
REJECTED = dict.fromkeys(
    ("property", "code", "line", "expected", "got", "remedy", "printed"), ""
) | {"file": PLACE}


@pytest.mark.parametrize(("command", "advised"), ADVICE, ids=[name for name, _ in ADVICE])
def test_a_place_with_a_space_is_one_word_of_the_advice(
    command: str, advised: Callable[[], str]
) -> None:
    line = advised().splitlines()[-1]
    assert any(word.startswith(PLACE) for word in shlex.split(line)), (command, line)


def test_json_is_printed_for_wrong_use_and_for_an_interrupt(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, part in (("prune m --sparsty 0.5", "--sparsity"), ("study x", "is now"), ("", "")):
        record = cli(f"{line} --json", code=2).record
        assert part in record.pop("error") and record == {"ok": False, "exit_code": 2}
        assert cli(line, code=2).out == ""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.cli.entry.command", stop)
    kept = {"error": "interrupted; what is finished is kept", "next": "autoprune ls runs --json"}
    assert cli("ls runs --json", code=130).record == kept | {"ok": False, "exit_code": 130}


@pytest.mark.parametrize(("options", "end"), [("", "starts over"), (" --stream", "is kept")])
def test_an_interrupted_prune_says_what_is_left(
    options: str, end: str, tiny_folder: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.prune.command.run", stop)
    line = f"prune {tiny_folder} --metric wanda --out o{options} --json"
    assert str(cli(line, code=130).record["error"]).endswith(end)
