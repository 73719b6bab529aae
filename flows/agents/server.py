"""The tools of ``autoprune mcp``: questions of waiting searches, their answers, and results.

An agent names runs of one state folder and ids of open questions, and nothing else: no path, no
model and no command. What it writes is an answer that the search parses and the sandbox runs.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from autoprune.design.chat import Usage
from autoprune.design.mailbox import Mailbox
from autoprune.design.parsing import LONGEST_ANSWER
from autoprune.errors import AutopruneError, UsageError, reason_of
from autoprune.report.data import UNFINISHED, RunReport
from autoprune.report.leaderboard import leaderboard
from autoprune.storage import read_object
from flows.search.runs import at_work, find_run, saved_params
from tasks.run_files import RunFiles
from tasks.state import State

P = ParamSpec("P")
Reply = dict[str, Any]

INSTRUCTIONS = """\
AutoPrune searches for the best way to prune a language model; you are its designer. Somebody starts
the search with `autoprune search MODEL --designer files`. Call runs, then next_questions; answer
each question in exactly the lines that its last message asks for, and call next_questions again,
until the status is finished. Then call results."""
# Every client waits at least this long for one reply.
LONGEST_WAIT = 50.0
LOOK_SECONDS = 0.25
MOST_QUESTIONS = 8
SHOWN = ("id", "operator", "messages", "schema", "max_tokens", "model")


def build_server(state: State) -> MCPServer:
    """Build a server for the runs of one state folder."""
    tools = Tools(state)
    server = MCPServer("autoprune", instructions=INSTRUCTIONS)
    for tool in (tools.runs, tools.next_questions, tools.answer, tools.results):
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


class Tools:
    """What an agent may call."""

    def __init__(self, state: State) -> None:
        self.state = state

    def runs(self) -> Reply:
        """All searches here, the latest first: status, what is left of the budget, what to do."""
        known = [
            name for name in self.state.run_ids() if RunFiles.of(self.state, name).log.exists()
        ]
        return {"runs": [self._status(name) for name in known]}

    def next_questions(self, run: str, wait_seconds: float = 30.0) -> Reply:
        """Open questions of a run; waits for the next ones while the search measures.

        Args:
            run: Name of the run.
            wait_seconds: How long to wait at most, up to 50.
        """
        name = find_run(self.state, run)
        until = time.monotonic() + min(wait_seconds, LONGEST_WAIT)
        while not self._waiting(name) and at_work(self.state, name) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        box = self._mailbox(name)
        bodies = [box.read_question(found) for found in self._waiting(name)[:MOST_QUESTIONS]]
        asked = [{key: body.get(key) for key in SHOWN} for body in bodies if body is not None]
        return self._status(name) | {"questions": asked}

    def answer(
        self, run: str, answers: dict[str, str], prompt_tokens: int = 0, answer_tokens: int = 0
    ) -> Reply:
        """Answer questions: all texts are taken, or none where one is refused.

        Args:
            run: Name of the run.
            answers: By id of the question: the lines that are asked for, or one JSON object by the
                question's schema. Texts are never run outside of the sandbox.
            prompt_tokens: Tokens of a single question, where you know them.
            answer_tokens: Tokens of its answer, where you know them.
        """
        name = find_run(self.state, run)
        box = self._mailbox(name)
        waiting = self._waiting(name)
        if not answers:
            raise UsageError("name at least one answer as {ID: text}")
        for question, words in answers.items():
            if question not in waiting:
                open_now = ", ".join(waiting) or "none"
                raise UsageError(f"{question!r} is not an open question of {name}: {open_now}")
            if not words.strip() or len(words) > LONGEST_ANSWER:
                raise UsageError(
                    f"the answer to {question} has {len(words)} characters; write 1 to "
                    f"{LONGEST_ANSWER}, only the lines that are asked for"
                )
        if min(prompt_tokens, answer_tokens) < 0 or max(prompt_tokens, answer_tokens) > 10**9:
            raise UsageError("tokens are whole numbers from 0 up; leave them out if unknown")
        if len(answers) > 1 and prompt_tokens + answer_tokens:
            raise UsageError("tokens are those of one answer; leave them out of several")
        for question, words in answers.items():
            box.answer(question, words, Usage(prompt_tokens, answer_tokens))
        return {"accepted": list(answers)} | self._status(name)

    def results(self, run: str, rows_shown: int = 20) -> Reply:
        """What a run that has ended found: the winner's changes, and the leaderboard, best first.

        Changes are in percent of perplexity with 95 % intervals, on the text that the winner was
        chosen on and on sealed text. Before the end, a question shows all that its designer may
        know.
        """
        name = find_run(self.state, run)
        body = self._report(name)
        ended = _ended(body)
        if not ended:
            raise UsageError(f"the run {name!r} has not ended; call next_questions")
        report = RunReport.from_json(body)
        known = report.sealed_set
        rows = leaderboard(report)[: max(1, min(rows_shown, 200))]
        return self._status(name) | {
            "ended": ended,
            "winner": None if report.winner is None else report.winner.alias,
            "winner_against": [
                {
                    "versus": contrast.versus,
                    "which_is": contrast.role,
                    "split": contrast.split,
                    "windows": contrast.windows,
                    "change_percent": round(100 * contrast.change, 2),
                    "interval_percent": None
                    if contrast.interval is None
                    else [round(100 * end, 2) for end in contrast.interval],
                }
                for contrast in report.contrasts
            ],
            "earlier_looks_at_sealed_set": None if known is None else known.earlier,
            "leaderboard": [row.to_json() for row in rows],
        }

    # Inside

    def _mailbox(self, name: str) -> Mailbox:
        box = saved_params(self.state, name).mailbox(name, RunFiles.of(self.state, name))
        if box is None:
            raise UsageError(f"the run {name!r} has a designer other than files")
        return box

    def _waiting(self, name: str) -> list[str]:
        try:
            box = self._mailbox(name)
        except AutopruneError:
            return []
        return [found for found in box.open_ids() if not box.is_answered(found)]

    def _report(self, name: str) -> dict[str, Any]:
        file = RunFiles.of(self.state, name).report
        return read_object(file) if file.exists() else {}

    def _status(self, name: str) -> Reply:
        waits, alive = len(self._waiting(name)), at_work(self.state, name)
        left: Mapping[str, Any] = RunFiles.of(self.state, name).read_facts().get("left") or {}
        if _ended(self._report(name)):
            status, following = "finished", "call results"
        elif waits:
            status, following = "asking", f"answer {waits} questions, then call next_questions"
        elif alive:
            status, following = "working", "call next_questions, which waits for the next ones"
        else:
            status, following = "stopped", ""
        if status in ("asking", "stopped") and not alive:
            following = f"{following}; nobody works on the run: type autoprune resume {name}"
        return {
            "run": name,
            "status": status,
            "left_of_budget": dict(left),
            "questions_waiting": waits,
            "next": following.removeprefix("; "),
        }


def _ended(report: Mapping[str, Any]) -> str:
    """Why a run is over; empty while it is not."""
    ended = str(report.get("ended", ""))
    return "" if ended == UNFINISHED else ended
