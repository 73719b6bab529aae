"""The tools of ``autoprune mcp``: the library's runs and questions for an agent."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, ParamSpec

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from autoprune.design.chat import Usage
from autoprune.design.parsing import LONGEST_ANSWER
from autoprune.errors import AutopruneError, UsageError
from flows.agents.jobs import LONGEST_WAIT, LOOK_SECONDS, Jobs
from flows.agents.project import Project
from flows.params import SearchParams
from flows.searching.leaderboard import rows
from flows.terminal.options import settled

P = ParamSpec("P")
Reply = dict[str, Any]

INSTRUCTIONS = """\
AutoPrune searches for the best way to prune a language model; you are the designer. Call
start_search once, then next_questions; answer each question in exactly the lines that its last
message asks for, and call next_questions again, until the status is "finished". Do not stop after
one answer: every reply says what is left of the budget, how many questions wait, and what to do
next. Waiting costs nothing. Then call results, graph, compare, evaluate."""
WINDOWS = (
    *("calibration_windows", "selection_windows", "rung_windows", "sealed_windows"),
    *("seqlen", "draws"),
)
MOST_QUESTIONS = 16
MOST_NODES = 200


def build_server(project: Project) -> MCPServer:
    """A server over one project.

    Args:
        project: What an agent may name.
    """
    tools = _Tools(project)
    server: MCPServer = MCPServer("autoprune", instructions=INSTRUCTIONS)
    for tool in (
        *(tools.runs, tools.start_search, tools.resume_search, tools.next_questions, tools.answer),
        *(tools.results, tools.graph, tools.compare, tools.evaluate, tools.job, tools.stop),
    ):
        server.add_tool(_speaking(tool))
    return server


def _speaking(tool: Callable[P, Reply]) -> Callable[P, Reply]:
    """The tool, whose errors an agent can read."""

    @functools.wraps(tool)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> Reply:
        try:
            return tool(*args, **kwargs)
        except AutopruneError as error:
            raise ToolError(" ".join(str(error).split())) from error

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
            "runs": [self._standing(name) for name in found],
            "next": "call start_search, or next_questions of a run that asks",
        }

    def start_search(
        self,
        model: str,
        corpus: str = "wikipedia-sample",
        sparsity: float = 0.6,
        pattern: str = "unstructured",
        repairs: str = "auto",
        candidates: int = 24,
        minutes: float | None = None,
        slots: int = 4,
        language: str = "expression",
        sandbox: str = "docker",
        seed: int = 0,
        your_name: str = "",
        run: str = "",
        evaluations: int | None = None,
        text_split: int | Literal["fresh"] = 0,
        windows: dict[str, int] | None = None,
    ) -> Reply:
        """Start a search in which you design; the same settings go on where they stopped.

        Args:
            model: Hub id, or a folder or .gguf file inside the project.
            corpus: Name, hf: data set, or a text file inside the project.
            sparsity: Share of weights set to zero.
            pattern: unstructured, or N:M such as 2:4.
            repairs: Repairs to choose from with commas between; auto: the usual ones.
            candidates: Designs that the budget allows, rejected ones included.
            minutes: Limit of measuring time; your own time is never counted.
            slots: Questions that are open at once.
            language: expression, python or both; Python runs in the locked container alone.
            sandbox: docker; off: formulas only.
            seed: Of every random choice.
            your_name: Which model you are, for the record.
            run: Name of the run; empty: made from the settings.
            evaluations: Recipes that the budget allows to measure on all selection windows.
            text_split: Number of the split of the text; fresh: the lowest whose sealed part
                nobody has looked at, for a figure that is to be believed.
            windows: Sizes by name: calibration_windows, selection_windows, rung_windows,
                sealed_windows, seqlen, draws.
        """
        sizes = windows or {}
        wrong = sorted(sizes.keys() - set(WINDOWS))
        if wrong:
            raise UsageError(f"windows has no {', '.join(wrong)}; allowed: {', '.join(WINDOWS)}")
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
            **sizes,
        }
        values = {name: value for name, value in values.items() if value is not None}
        name = settled(SearchParams, values).run_id()
        # Its folder is made by the search; a wrong name is refused here.
        self.project.state.run(name)
        self.jobs.start(f"search-{name}", ["search", *_options(values)])
        return {"run": name, "status": "working", "next": "call next_questions with this run"}

    def resume_search(self, run: str) -> Reply:
        """Go on with a search that nobody works on; nothing that is finished is done again."""
        self.project.mailbox(run)
        self.jobs.start(f"search-{run}", ["resume", run])
        return self._standing(run)

    def next_questions(self, run: str, wait_seconds: float = 30.0) -> Reply:
        """Open questions of a run; waits for the next ones while the search measures.

        Args:
            run: Name of the run.
            wait_seconds: How long to wait at most, up to 50.
        """
        until = time.monotonic() + min(wait_seconds, LONGEST_WAIT)
        job = f"search-{run}"
        while not self._has(run) and self.jobs.is_alive(job) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        if not self._has(run):
            if self.jobs.is_alive(job) and not self.project.state.run(run).exists():
                return {"run": run, "status": "working", "next": "it starts; call again"}
            return self._standing(run) | {"questions": []} | self._trouble(run)
        box = self.project.mailbox(run)
        waiting = self.project.waiting(run)
        bodies = [body for name in waiting if (body := box.read_question(name)) is not None]
        wanted = ("id", "operator", "messages", "schema", "max_tokens", "model")
        shown = [{key: body.get(key) for key in wanted} for body in bodies[:MOST_QUESTIONS]]
        return self._standing(run) | {"questions": shown}

    def answer(
        self, run: str, question: str, text: str, prompt_tokens: int = 0, answer_tokens: int = 0
    ) -> Reply:
        """Answer one question; the text is read by the search, never run outside of the sandbox.

        Args:
            run: Name of the run.
            question: Its id.
            text: The lines that are asked for, or one JSON object by the question's schema.
            prompt_tokens: Tokens of the question, where you know them.
            answer_tokens: Tokens of your answer, where you know them.
        """
        box = self.project.mailbox(run)
        if box.read_question(question) is None:
            waiting = ", ".join(self.project.waiting(run)) or "none"
            raise UsageError(f"{question!r} is no open question of {run}; open are: {waiting}")
        if box.is_answered(question):
            raise UsageError(f"{question!r} is answered already; call next_questions")
        if not text.strip() or len(text) > LONGEST_ANSWER:
            raise UsageError(
                f"the answer has {len(text)} characters; write 1 to {LONGEST_ANSWER}, only the "
                "lines that are asked for"
            )
        if min(prompt_tokens, answer_tokens) < 0 or max(prompt_tokens, answer_tokens) > 10**9:
            raise UsageError("tokens are whole numbers from 0 up; leave them out if unknown")
        box.answer(question, text, Usage(prompt_tokens, answer_tokens))
        return {"accepted": question} | self._standing(run)

    def results(self, run: str, rows_shown: int = 20) -> Reply:
        """The leaderboard of a run as it stands, best first, rejected designs with their reason."""
        files = self.project.run(run)
        report = self.project.report(files)
        found = rows(report)[: max(1, min(rows_shown, 200))] if report else []
        facts = files.read_facts()
        winner = {"winner_folder": str(files.winner)} if "checkpoint" in facts else {}
        return self._standing(run) | {
            "dense_perplexity": report.get("dense_perplexity"),
            "ended": self.project.ended(files),
            "leaderboard": found,
            **winner,
        }

    def graph(self, run: str, kinds: list[str] | None = None, newest: int = 60) -> Reply:
        """The newest nodes of the reasoning graph, and the edges between them.

        Args:
            run: Name of the run.
            kinds: Only these, such as hypothesis, mechanism, result, lesson; left out: all.
            newest: How many nodes, up to 200.
        """
        report = self.project.report(self.project.run(run))
        nodes = [n for n in report.get("nodes", ()) if kinds is None or n["kind"] in kinds]
        shown = nodes[-max(1, min(newest, MOST_NODES)) :]
        names = {node["id"] for node in shown}
        edges = [e for e in report.get("edges", ()) if {e["source"], e["target"]} <= names]
        return self._standing(run) | {"nodes": shown, "edges": edges, "of_nodes": len(nodes)}

    def compare(
        self,
        model: str,
        methods: list[str],
        sparsity: float = 0.6,
        corpus: str = "wikipedia-sample",
        draws: int = 3,
        sealed_windows: int = 100,
        wait_seconds: float = 30.0,
    ) -> Reply:
        """Compare pruning methods on one model: same tokens, same budgets, paired intervals.

        Args:
            model: As of start_search.
            methods: Such as wanda, wanda+ramp+mrp, sparsegpt.
            sparsity: Share of zeros.
            corpus: As of start_search.
            draws: Draws of calibration text.
            sealed_windows: Windows of the figures; looks at sealed text are counted.
            wait_seconds: How long to wait for the table, up to 50; call job after that.
        """
        if any(method.strip().startswith("llm-compressor") for method in methods):
            raise UsageError("llm-compressor runs in another environment; leave it out")
        values = {
            "model": self.project.model(model),
            "methods": ",".join(methods),
            "sparsity": sparsity,
            "corpus": self.project.corpus(corpus),
            "draws": draws,
            "sealed_windows": sealed_windows,
        }
        return self._started("compare", values, wait_seconds)

    def evaluate(
        self,
        model: str,
        suites: list[str],
        against: str = "",
        corpus: str = "wikipedia-sample",
        windows: int = 100,
        wait_seconds: float = 30.0,
    ) -> Reply:
        """Measure a model by suites, alone or against another, pair by pair.

        Args:
            model: As of start_search, or the winner's folder.
            suites: Of lm, lastword, degenerate, reasoning, cost.
            against: Another model; empty: none.
            corpus: As of start_search.
            windows: Windows of suite lm.
            wait_seconds: As of compare.
        """
        values: dict[str, Any] = {
            "model": self.project.model(model),
            "suite": self.project.suites(suites),
        }
        if "lm" in suites:
            values |= {"corpus": self.project.corpus(corpus), "windows": windows}
        if against:
            values["against"] = self.project.model(against)
        return self._started("evaluate", values, wait_seconds)

    def job(self, name: str, wait_seconds: float = 30.0) -> Reply:
        """The result of a comparison or an evaluation, or the end of its log while it works."""
        return self.jobs.wait(name, wait_seconds)

    def stop(self, name: str) -> Reply:
        """Stop a run or a job that was started here; a run goes on with resume_search.

        Args:
            name: Of the run or of the job.
        """
        job = f"search-{name}"
        if job in self.jobs.register.noted():
            self.jobs.stop(job)
            return self._standing(name)
        stopped = self.jobs.stop(name)
        return {"job": name, "status": "stopped" if stopped else "had ended", "next": "call runs"}

    # Inside

    def _started(self, kind: str, values: Mapping[str, Any], seconds: float) -> Reply:
        name = self.jobs.free_name(kind)
        self.jobs.start(name, [kind, *_options(values), "--json", "--quiet"])
        return self.jobs.wait(name, seconds)

    def _standing(self, run: str) -> Reply:
        return self.project.standing(run, alive=self.jobs.is_alive(f"search-{run}"))

    def _has(self, run: str) -> bool:
        return bool(self.project.waiting(run))

    def _trouble(self, run: str) -> Reply:
        """The end of the log of a search that ended before its work was done."""
        job = f"search-{run}"
        ended = self.project.ended(self.project.run(run))
        if ended or self.jobs.is_alive(job) or job not in self.jobs.register.noted():
            return {}
        return {"log": self.jobs.last_lines(job)}


def _options(values: Mapping[str, Any]) -> list[str]:
    """Options of the command line; each is one word, so that no value is read as an option."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
