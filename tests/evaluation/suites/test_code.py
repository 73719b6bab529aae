"""Code that a model writes: its results are judged out here, by what never went in."""

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.errors import PrerequisiteError, UsageError
from autoprune.evaluation.suites import build_suite
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.code import CodeSuite, verdict_of
from autoprune.evaluation.suites.code_problems import PROBLEMS
from autoprune.evaluation.suites.code_running import Returned
from sandbox.codes import Code
from sandbox.container import LayerInput
from sandbox.errors import SandboxUnavailableError
from sandbox.exchange import OWNER_FILE
from sandbox.outcomes import Rejected
from tasks.code_sandbox import ContainerCode, DockerCode
from tests.support.tiny_subject import broken_subject, tiny_subject

FEW = ("digit_sum", "is_prime", "longest_word")


class Given:
    """A sandbox whose containers give back what a test says, without running anything."""

    def __init__(self, results: dict[str, Returned]) -> None:
        self.results = results
        self.sources: list[str] = []

    def require(self) -> None:
        return None

    @contextmanager
    def open(self):  # type: ignore[no-untyped-def]
        yield self

    def run(
        self, source: str, name: str, calls: Sequence[Sequence[Any]], seconds: float
    ) -> Returned:
        self.sources.append(source)
        return self.results[name]


def test_problems_are_whole_different_and_ask_more_than_they_show() -> None:
    problems = [problem for _, problem in PROBLEMS.items()]
    assert len(problems) >= 24 and len({problem.prompt for problem in problems}) == len(problems)
    for problem in problems:
        assert problem.prompt.startswith(f"def {problem.name}(")
        assert problem.prompt.rstrip().endswith('"""') and ">>> " in problem.prompt
        compile(problem.prompt + problem.solution, problem.name, "exec")
        # No constant passes, and the example's call is not all that is asked.
        results = [repr(value) for value in problem.expected]
        assert len(problem.calls) >= 3 and len(set(results)) > 1, problem.name


def test_pass_at_1_counts_right_results_alone() -> None:
    given = Given(
        {
            "digit_sum": Returned("ok", ("0", "7", "6.0", "44")),
            "is_prime": Returned("ok", ("0", "1", "1", "0", "0")),
            "longest_word": Returned("ok", ('"pear"', '""', '"bb"', '""')),
        }
    )
    suite = CodeSuite(FEW, new_tokens=3)
    (row,) = suite.run(tiny_subject(), resources=Resources(code=given))
    # 6.0 is 6; 1 is not True; ["a", "bb", "cc"] has two longest, the first one counts.
    assert (row.metric, row.items, row.value) == ("pass@1", (0.0, 0.0, 1.0), pytest.approx(1 / 3))
    assert row.interval is not None and row.interval[0] <= 1 / 3 <= row.interval[1]
    assert row.details["codes"] == {"wrong": 2, "passed": 1}
    prompt = PROBLEMS.get("digit_sum").prompt
    assert given.sources[0].startswith(prompt) and "expected" not in given.sources[0]
    short = Given(dict.fromkeys(FEW, Returned("ok", ("0",))))
    assert suite.run(tiny_subject(), resources=Resources(code=short))[0].value == 0.0
    deep = Given(dict.fromkeys(FEW, Returned("ok", ("[" * 4096,) * 4)))
    assert suite.run(tiny_subject(), resources=Resources(code=deep))[0].value == 0.0
    (row,) = suite.run(broken_subject(), resources=Resources(code=given))
    assert row.status == "not_finite"


@pytest.mark.parametrize(
    ("text", "value", "same"),
    [
        ("[true, 0]", [1, 0], False),
        ("[1.0, 0]", [1, 0], True),
        ('{"a": [false]}', {"a": [0]}, False),
        ('{"a": [2, "b"]}', {"a": [2.0, "b"]}, True),
        ("[1, 2]", [1], False),
        ("true", 1, False),
        ("[[true]]", [[True]], True),
    ],
)
def test_a_boolean_is_no_number_at_any_depth(text: str, value: Any, same: bool) -> None:
    problem: Any = SimpleNamespace(prompt="", name="f", calls=((),), expected=[value])
    runner: Any = SimpleNamespace(run=lambda *_: Returned("ok", (text,)))
    found = verdict_of(problem, "", runner, 1.0)
    assert (found == "passed") == same


def test_without_a_sandbox_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrerequisiteError, match="needs Docker"):
        CodeSuite().run(tiny_subject())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(SandboxUnavailableError, match="no Docker Engine answers") as caught:
        CodeSuite().run(tiny_subject(), resources=Resources(code=DockerCode(tmp_path)))
    assert caught.value.exit_code == 4
    with pytest.raises(UsageError, match="did you mean digit_sum"):
        build_suite("code:problems=digit_sums")


ENDINGS = {
    "exits": "    import sys\n    sys.exit(0)\n",
    "leaves": "    import os\n    os._exit(0)\n",
    # By the pipe on which a child says that a call is done, and the file of results.
    "reports": (
        "    import os, struct\n    os.pwrite(4, struct.pack('<2f', 1.0, 49.0), 0)\n"
        "    os.write(3, struct.pack('<4sII', b'LAYR', 0, 0))\n    os._exit(0)\n"
    ),
}
# One way to lie for each hidden call, so that one container does for all.
LIES = """\
    import builtins, json
    class Same(int):
        def __eq__(self, other):
            return True
    if number == 0:
        print("ok passed 0")
        return 13
    if number == 7:
        return Same(13)
    if number == 1005:
        json.dumps = lambda *_, **__: '{"passed": true}'
        return 13
    builtins.compile = builtins.all = builtins.int = lambda *_, **__: True
    return 13
"""


class Owned:
    """Stands for a sandbox: the files of a job must have an owner, who may be killed."""

    let_go_of = 0

    def prune_layers(self, _: str, layers: Sequence[LayerInput], **__: Any) -> Rejected:
        assert all((layer.file.parent / OWNER_FILE).is_file() for layer in layers)
        return Rejected(Code.TIMEOUT, "late", 0.0)

    def let_go(self) -> None:
        self.let_go_of += 1


def test_the_files_of_a_completion_have_an_owner(tmp_path: Path) -> None:
    box = Owned()
    runner = ContainerCode(box, tmp_path)  # type: ignore[arg-type]
    assert runner.run("", "f", [[1], [2]], 1.0) == Returned("timeout")
    # A solution's container is not kept: another one comes next.
    assert box.let_go_of == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.docker
def test_a_solution_passes_and_no_forgery_does(tmp_path: Path) -> None:
    problem = PROBLEMS.get("digit_sum")
    with DockerCode(tmp_path / "inputs", "tests").open() as runner:

        def verdict(completion: str) -> str:
            return verdict_of(problem, completion, runner, 60)

        assert verdict(problem.solution) == "passed"
        returned = runner.run(problem.prompt + LIES, problem.name, problem.calls, 60)
        assert returned == Returned("ok", ("13", "13", '{"passed": true}', "13"))
        found = {name: verdict(text) for name, text in ENDINGS.items()}
        assert (found["exits"], found["leaves"]) == ("exception", "incomplete")
        # The second call of four finds its turn reported already, or its result is not right.
        assert found["reports"] != "passed"
    assert list((tmp_path / "inputs").iterdir()) == []
