"""The tools of ``autoprune mcp``: the library's runs and questions for an agent."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, ParamSpec

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from autoprune.errors import AutopruneError, UsageError, reason_of
from autoprune.report.data import RunReport
from autoprune.report.leaderboard import leaderboard
from autoprune.search.arms import CONTROLS
from autoprune.search_settings import USUAL_SPARSITY
from flows.agents.arguments import StrictServer
from flows.agents.graph_reply import graph_reply
from flows.agents.jobs import LONGEST_WAIT, LOOK_SECONDS, Jobs
from flows.agents.outcome import outcome
from flows.agents.project import Project
from flows.agents.questions import give_answers, shared_once
from flows.agents.starting import SIZES, begin_search, options, start_job
from flows.compare.params import USUAL_DRAWS
from flows.params import DEMO_CORPUS
from flows.search.runs import at_work

P = ParamSpec("P")
Reply = dict[str, Any]

INSTRUCTIONS = """\
AutoPrune searches for the best way to prune a language model; you are the designer. Call
start_search once, then next_questions; answer each question in exactly the lines that its last
message asks for, and call next_questions again, until the status is "finished". Do not stop after
one answer: every reply says what is left of the budget, how many questions wait, and what to do
next. Waiting costs nothing. Then call results, graph, compare, evaluate."""
MOST_QUESTIONS = 16
MOST_NODES = 200


def build_server(project: Project) -> MCPServer:
    """Build a server for one project."""
    tools = _Tools(project)
    server = StrictServer("autoprune", instructions=INSTRUCTIONS)
    for tool in (
        *(tools.runs, tools.start_search, tools.resume_search, tools.next_questions, tools.answer),
        *(tools.results, tools.graph, tools.compare, tools.evaluate, tools.job, tools.stop),
    ):
        server.add_tool(_speaking(tool))
    return server


def _speaking(tool: Callable[P, Reply]) -> Callable[P, Reply]:
    """Wrap a tool so that an agent can read its errors."""

    @functools.wraps(tool)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> Reply:
        try:
            return tool(*args, **kwargs)
        except AutopruneError as error:
            raise ToolError(reason_of(error, None)) from error

    return spoken


class _Tools:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.jobs = Jobs(project.state, project.root)

    def runs(self) -> Reply:
        """All searches here, the latest first, with what waits in each."""
        names = self.project.state.run_ids()
        found = [
            name for name in names if self.project.state.run(name).joinpath("search.db").exists()
        ]
        return {
            "runs": [self._status(name) for name in found],
            "next": "call start_search, or next_questions of a run that asks",
        }

    def start_search(
        self,
        model: str,
        corpus: str = DEMO_CORPUS,
        sparsity: float | None = None,
        pattern: str = "unstructured",
        repairs: str = "auto",
        candidates: int | None = None,
        minutes: float | None = None,
        slots: int = 4,
        language: str = "expression",
        sandbox: str = "docker",
        seed: int = 0,
        your_name: str = "",
        run: str = "",
        evaluations: int | None = None,
        text_split: int | Literal["fresh"] = 0,
        sizes: dict[str, int] | None = None,
        arm: Literal["auto", "list", "graph", "whole"] = "auto",
    ) -> Reply:
        """Start a search in which you design; the same settings go on where they stopped."""
        sizes = sizes or {}
        wrong = sorted(sizes.keys() - set(SIZES))
        if wrong:
            raise UsageError(f"sizes has no {', '.join(wrong)}; allowed: {', '.join(SIZES)}")
        values: dict[str, Any] = {
            "model": self.project.model(model),
            "corpus": self.project.corpus(corpus),
            "sparsity": sparsity,
            "pattern": pattern,
            "repairs": repairs,
            "candidates": candidates,
            "minutes": minutes,
            "slots": slots,
            "language": language,
            "sandbox": sandbox,
            "seed": seed,
            "designer": "files",
            "designer_model": your_name.replace(",", " ").strip() or None,
            "run": run or None,
            "evaluations": evaluations,
            "text_split": text_split,
            "arm": arm,
            **sizes,
        }
        given = {name: value for name, value in values.items() if value is not None}
        return begin_search(self.project, self.jobs, given)

    def resume_search(self, run: str) -> Reply:
        """Go on with a search that nobody works on; nothing that is finished is done again."""
        self.project.mailbox(run)
        job = start_job(self.jobs, run, ["resume", run])
        return {"job": job} | self._status(run)

    def next_questions(self, run: str, wait_seconds: float = 30.0) -> Reply:
        """Open questions of a run; waits for the next ones while the search measures.

        What several questions begin with is given once, in shared: read each as shared.system,
        then shared.beginning with its own first message behind it.
        """
        until = time.monotonic() + min(wait_seconds, LONGEST_WAIT)
        job = f"search-{run}"
        while (
            not self.project.waiting(run) and self.jobs.is_alive(job) and time.monotonic() < until
        ):
            time.sleep(LOOK_SECONDS)
        if not self.project.waiting(run):
            return self._status(run) | {"shared": {}, "questions": []} | self._trouble(run)
        box = self.project.mailbox(run)
        waiting = self.project.waiting(run)
        bodies = [body for name in waiting if (body := box.read_question(name)) is not None]
        return self._status(run) | shared_once(bodies[:MOST_QUESTIONS])

    def answer(
        self,
        run: str,
        question: str = "",
        text: str = "",
        answers: dict[str, str] | None = None,
        prompt_tokens: int = 0,
        answer_tokens: int = 0,
    ) -> Reply:
        """Answer one question or several; texts are never run outside of the sandbox.

        All answers are taken, or none where one is refused.
        """
        given = {question: text} if answers is None else answers
        if not given or (answers is not None and (question or text)):
            raise UsageError("name question and text, or answers as {ID: text}, and not both")
        give_answers(self.project, run, given, prompt_tokens, answer_tokens)
        return {"accepted": list(given)} | self._status(run)

    def results(self, run: str, rows_shown: int = 20) -> Reply:
        """What a run has found so far: the winner's changes, and the leaderboard, best first.

        winner_against compares the winner with the best start made by hand and the reference, on
        the text it was chosen on and, at the end, on sealed text, in percent of perplexity with
        95 % intervals. change_vs_wanda in the leaderboard is a share: -0.1 is 10 % lower. Of a
        search whose questions show less, only once it has ended.
        """
        self.project.require_open(run, *CONTROLS)
        files = self.project.run(run)
        body = self.project.report(files)
        report = RunReport.from_json(body) if body else None
        rows = leaderboard(report) if report else []
        facts = files.read_facts()
        winner = {"winner_folder": str(files.winner)} if "checkpoint" in facts else {}
        return self._status(run) | {
            "ended": self.project.ended(files),
            **(outcome(report) if report else {}),
            "leaderboard": [row.to_json() for row in rows[: max(1, min(rows_shown, 200))]],
            **winner,
        }

    def graph(
        self, run: str, kinds: list[str] | None = None, newest: int = 60, prompts: bool = False
    ) -> Reply:
        """The newest nodes of the reasoning graph, and the edges between them.

        Figures that end in _percent are changes of perplexity in percent, with 95 % intervals. Of
        a search whose questions show less, only once it has ended.
        """
        self.project.require_open(run, *CONTROLS, "list")
        report = self.project.report(self.project.run(run))
        count = max(1, min(newest, MOST_NODES))
        return self._status(run) | graph_reply(report, kinds, count, prompts=prompts)

    def compare(
        self,
        model: str,
        methods: list[str],
        sparsity: float = USUAL_SPARSITY,
        corpus: str = DEMO_CORPUS,
        draws: int = USUAL_DRAWS,
        sealed_windows: int = 100,
        wait_seconds: float = 30.0,
    ) -> Reply:
        """Compare pruning methods on one model: same tokens, same budgets, paired intervals.

        Refused for a text of which a run that you design keeps a part sealed, until it has ended.
        """
        values = {
            "model": self.project.model(model),
            "methods": self.project.methods(methods),
            "sparsity": sparsity,
            "corpus": self.project.require_unsealed(self.project.corpus(corpus)),
            "draws": draws,
            "sealed_windows": sealed_windows,
        }
        return self._started("compare", values, wait_seconds)

    def evaluate(
        self,
        model: str,
        suites: list[str],
        against: str = "",
        corpus: str = DEMO_CORPUS,
        measured_windows: int = 100,
        wait_seconds: float = 30.0,
    ) -> Reply:
        """Measure a model by suites, alone or against another, pair by pair.

        As compare, refused for a text of which an open run keeps a part sealed.
        """
        values: dict[str, Any] = {
            "model": self.project.model(model),
            "suite": self.project.suites(suites),
        }
        if {"lm", "lastword", "degenerate"} & set(suites):
            values["corpus"] = self.project.require_unsealed(self.project.corpus(corpus))
        elif corpus != DEMO_CORPUS:
            raise UsageError(
                f"corpus {corpus}: none of the suites {', '.join(suites)} reads a text; add lm, "
                "lastword or degenerate, or leave it out"
            )
        if "lm" in suites:
            values["measured_windows"] = measured_windows
        if against:
            values["against"] = self.project.model(against)
        return self._started("evaluate", values, wait_seconds)

    def job(self, name: str, wait_seconds: float = 30.0) -> Reply:
        """The result of a search, a comparison or an evaluation; while it works, its log's end."""
        return self.project.shown(name, self.jobs.wait(name, wait_seconds))

    def stop(self, name: str) -> Reply:
        """Stop a run or a job that was started here; a run goes on with resume_search."""
        job = f"search-{name}"
        if job in self.jobs.register.noted():
            self.jobs.stop(job)
            return self._status(name)
        stopped = self.jobs.stop(name)
        return {"job": name, "status": "stopped" if stopped else "had ended", "next": "call runs"}

    # Inside

    def _started(self, kind: str, values: Mapping[str, Any], seconds: float) -> Reply:
        name = self.jobs.start_next(kind, [kind, *options(values), "--json", "--quiet"])
        return self.jobs.wait(name, seconds)

    def _is_alive(self, run: str) -> bool:
        if self.jobs.is_alive(f"search-{run}"):
            return True
        known = run in self.project.runs() and not self.project.ended(self.project.run(run))
        # A terminal or a worker may be at it.
        return known and at_work(self.project.state, run)

    def _status(self, run: str) -> Reply:
        job = f"search-{run}"
        alive = self._is_alive(run)
        if run in self.project.runs() or job not in self.jobs.register.noted():
            return self.project.status_of(run, alive=alive)
        # It starts, or ended before there was anything of the run: its log has the reason.
        follow = "it starts; call again" if alive else "read the log, then call start_search again"
        return {"run": run} | self.jobs.wait(job, 0.0) | {"next": follow}

    def _trouble(self, run: str) -> Reply:
        """Return the end of the log of a search that ended before its work was done."""
        job, known = f"search-{run}", run in self.project.runs()
        if self.jobs.is_alive(job) or job not in self.jobs.register.noted():
            return {}
        ended = known and self.project.ended(self.project.run(run))
        return {} if ended else self.project.shown(job, {"log": self.jobs.last_lines(job)})
