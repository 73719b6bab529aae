"""Suite ``code``: functions written by the model, run in the sandbox, judged outside it.

The model continues a signature with its docstring, greedily, as in HumanEval (arXiv 2107.03374).
What it writes is hostile until proven otherwise: it runs only in the container, receives arguments
and returns results. The expected results never go in, so no exit, print or patched function can
make a wrong completion right.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.generation import check_length, greedy_replies
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.code_problems import PROBLEMS, CodeProblem
from autoprune.evaluation.suites.code_reading import ASK, program_of
from autoprune.evaluation.suites.code_running import CodeRunner, CodeSandbox
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent
from autoprune.text.conversations import asked

# 2: generation settings of the checkpoint have no effect. 3: a completion that begins with a fence
# is read up to the end of its block.
VERSION = 3
# Text at the left margin that ends a function.
_STOP = (
    "\ndef ", "\nclass ", "\nif ", "\nfor ", "\nprint", "\nassert", "\n#", "\n@", "\n```", "\n>>>",
)  # fmt: skip
_FENCE = re.compile(r"\s*```[^\n]*")
_SAMPLES = 5


@SUITES.register("code")
@dataclass(frozen=True)
class CodeSuite:
    """Share of programming problems solved by the first, greedy completion: pass@1.

    Args:
        problems: Names of problems; empty for all.
        chat: Ask for the whole function through the chat template and extract it from the reply;
            otherwise the model continues the signature.
        new_tokens: Longest completion in tokens; 0 means 192, or 512 in a chat.
        seconds: Wall-clock limit for all calls of one completion.
        batch: Prompts computed together.
        seed: Seed of the bootstrap.
    """

    problems: tuple[str, ...] = ()
    chat: bool = False
    new_tokens: int = 0
    seconds: int = 20
    batch: int = 8
    seed: int = 0

    name = "code"

    def __post_init__(self) -> None:
        if self.new_tokens < 0 or self.batch < 1 or self.seconds < 1:
            raise UsageError(
                f"new_tokens {self.new_tokens}, seconds {self.seconds}, batch {self.batch} is not "
                "possible; new_tokens may be 0, the others are at least 1"
            )
        for name in self.problems:
            PROBLEMS.get(name)

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Check that there is a sandbox, and that prompts fit the model.

        See :class:`autoprune.evaluation.suites.suite.Suite`.
        """
        _sandbox(resources).require()
        check_length(loaded, self._prompts(loaded), self._longest)

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        self.check(loaded, resources=resources)
        problems = self._problems()
        prompts = self._prompts(loaded)
        data = [[p.prompt, p.calls, p.expected] for p in problems]
        protocol = {
            "version": VERSION, "data": digest_json(data), "new_tokens": self._longest,
            "seconds": self.seconds, "batch": self.batch, "seed": self.seed,
        } | ({"chat": True} if self.chat else {})  # fmt: skip
        context = RowContext(
            self.name, model_protocol(loaded) | protocol, model_provenance(loaded), self.seed
        )
        try:
            with finite_logits(loaded.model):
                written = greedy_replies(
                    loaded, prompts, new_tokens=self._longest, stop=() if self.chat else end_of,
                    batch=self.batch, report=report,
                )  # fmt: skip
        except NotFiniteError as error:
            return [context.missing("problems", "pass@1", str(error), status="not_finite")]
        verdicts = []
        with _sandbox(resources).open() as runner:
            for problem, completion in zip(problems, written, strict=True):
                whole = self.chat or _FENCE.match(completion)
                source = program_of(problem, completion) if whole else None
                verdicts.append(verdict_of(problem, completion, runner, self.seconds, source))
                report(Progress("code", len(verdicts), len(problems)))
        shown = [
            {"problem": problem.name, "completion": text, "code": code}
            for problem, text, code in zip(problems, written, verdicts, strict=True)
        ]
        details = {"codes": dict(Counter(verdicts)), "samples": shown[:_SAMPLES]}
        passed = [code == "passed" for code in verdicts]
        return [context.accuracy("problems", passed, metric="pass@1", details=details)]

    @property
    def _longest(self) -> int:
        return self.new_tokens or (512 if self.chat else 192)

    def _prompts(self, loaded: LoadedModel) -> list[str]:
        heads = [problem.prompt for problem in self._problems()]
        if not self.chat:
            return heads
        if not getattr(loaded.tokenizer, "chat_template", None):
            raise UsageError(
                f"the model {loaded.source.ref!r} has no chat template; use chat=false"
            )
        return [asked(loaded.tokenizer, ASK.format(prompt=head)) for head in heads]

    def _problems(self) -> list[CodeProblem]:
        names = self.problems or tuple(name for name, _ in PROBLEMS.items())
        return [PROBLEMS.get(name) for name in names]


def end_of(completion: str) -> int | None:
    """Where the function ends that a model writes after its signature; None: it may go on.

    A completion that begins with a fence, as chat models write it, ends with its block.
    """
    fence = _FENCE.match(completion)
    start, stops = (fence.end(), ("\n```",)) if fence else (0, _STOP)
    return min((at for text in stops if (at := completion.find(text, start)) >= 0), default=None)


def verdict_of(
    problem: CodeProblem,
    completion: str,
    runner: CodeRunner,
    seconds: float,
    source: str | None = None,
) -> str:
    """``passed``, ``wrong``, or the sandbox's code for what went wrong."""
    whole = problem.prompt + completion + "\n" if source is None else source
    returned = runner.run(whole, problem.name, problem.calls, seconds)
    if returned.code != "ok":
        return returned.code
    same = len(returned.results) == len(problem.expected) and all(
        _is_same(text, value)
        for text, value in zip(returned.results, problem.expected, strict=True)
    )
    return "passed" if same else "wrong"


def _is_same(text: str, value: Any) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return _is_equal(found, value)


def _is_equal(found: Any, value: Any) -> bool:
    """As Python compares them, 2.0 equals 2; but a Boolean never equals a number, at any depth."""
    if isinstance(found, list) and isinstance(value, list):
        same = len(found) == len(value)
        return same and all(map(_is_equal, found, value))
    if isinstance(found, dict) and isinstance(value, dict):
        same = found.keys() == value.keys()
        return same and all(_is_equal(found[key], value[key]) for key in found)
    return bool(found == value) and (type(found) is bool) == (type(value) is bool)


def _sandbox(resources: Resources) -> CodeSandbox:
    if resources.code is None:
        raise PrerequisiteError(
            "the suite code runs what a model writes, in the sandbox alone, and there is none "
            "here; measure it by `autoprune evaluate --suite code`, which needs Docker"
        )
    return resources.code
