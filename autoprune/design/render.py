"""A prompt is a rendering of a part of the graph under a token budget.

The same graph, operator, focus and budget give the same bytes. What stays the same over a run comes
first and what differs between the slots of a generation comes last, because servers keep the
longest common beginning of successive prompts.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autoprune.allocation.formula import DESCRIPTORS
from autoprune.design.chat import Message
from autoprune.design.graph import Graph, Node
from autoprune.design.parsing import Language
from autoprune.design.parts import FORMULA
from autoprune.design.prompts import Prompts
from autoprune.metrics.language import FUNCTIONS, TERMINALS

Level = Literal["full", "line", "alias"]
TokenCounter = Callable[[str], int]

# Shares of what the system prompt and the instruction leave; the rest is the table's.
FACTS_SHARE, FAILURES_SHARE, LESSONS_SHARE, KNOWN_SHARE = 0.14, 0.1, 0.1, 0.14
# Rows of the table below which formulas are only named, so that they are not written again.
TABLE_ROWS = 6
# Neighbours of a recipe that an exploit is shown, best last.
NEIGHBOURS = 6
PARTS = {"metric": "formula", "group": "group", "allocation": "allocation", "solver": "solver"}
ALLOCATION_FORMS = {
    "ramp": "ramp:half_width=0.15",
    "sdsa": "sdsa:strength=0.15",
    FORMULA: "formula:0.1 * depth - 0.05 * tail",
}
PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]")
LETTERS_PER_TOKEN = 6


@dataclass(frozen=True)
class Scene:
    """What stays the same over a run.

    Args:
        language: What may be written.
        statistics: Names of the values beside ``W``.
        groups: Comparison groups to choose from.
        allocations: Families of allocations to choose from.
        solvers: Repairs to choose from.
        reference: Alias of the entry that changes are counted from.
        percent: Target sparsity in percent.
        budget: Tokens of a whole prompt.
    """

    language: Language
    statistics: Sequence[str]
    groups: Sequence[str]
    allocations: Sequence[str]
    solvers: Sequence[str]
    reference: str
    percent: float
    budget: int


def estimate_tokens(text: str) -> int:
    """Upper estimate of the tokens of a text, without a tokenizer.

    Words count one token for every six letters, digits and signs one each, other characters one for
    each of their bytes; 5 to 13 % above Qwen2.5's own count on our prompts.
    """
    return sum(
        math.ceil(len(piece) / LETTERS_PER_TOKEN) if piece.isascii() else len(piece.encode())
        for piece in PIECE.findall(text)
    )


def render_prompt(
    prompts: Prompts,
    scene: Scene,
    graph: Graph,
    operator: str,
    *,
    focus: Sequence[str] = (),
    hint: str = "",
    part: str | None = None,
    blank: str = "",
    retired: Collection[str] = (),
    reasons: bool = True,
    count: TokenCounter = estimate_tokens,
) -> tuple[Message, ...]:
    """The messages of one request.

    Args:
        operator: Name of a template in ``operators/``.
        focus: Aliases of the mechanisms that the operator works on.
        hint: One idea to try.
        part: The one part of a recipe that is asked for.
        blank: Its formula with a place to fill.
        retired: Aliases of lessons that are not shown any more.
        reasons: Show facts, failures and lessons beside the results.
        count: Counts tokens.
    """
    system = render_system(prompts, scene)
    shown = [describe(graph, alias, "full") for alias in focus]
    instruction = prompts.render(
        f"operators/{operator}",
        focus=shown,
        hint=hint,
        reference=scene.reference,
        part=part or "",
        blank=blank,
        neighbours=neighbours(graph, focus[0], part) if part and focus else [],
    )
    left = max(0, scene.budget - count(system) - count(instruction) - 40)
    lines = left if reasons else 0
    facts = _fill_lines(_facts(graph), int(lines * FACTS_SHARE), count)
    failures = _fill_lines(_failures(graph), int(lines * FAILURES_SHARE), count)
    lessons = _fill_lines(_lessons(graph, retired), int(lines * LESSONS_SHARE), count)
    ranked = _ranked(graph)
    rest = [alias for alias in ranked if alias not in ranked[:TABLE_ROWS]]
    known = _fill_lines(_formulas(graph, rest), int(left * KNOWN_SHARE), count)
    # The table gets what the others leave.
    left -= sum(count(line) + 2 for line in (*facts, *failures, *lessons, *known))
    table = _fill(ranked, graph, left, count)
    table.reverse()
    user = prompts.render(
        "user",
        percent=f"{scene.percent:g}",
        reference=scene.reference,
        table=table,
        facts=facts,
        failures=failures,
        lessons=lessons,
        known=known,
        instruction=instruction,
    )
    return (Message("system", system), Message("user", user))


def render_system(prompts: Prompts, scene: Scene) -> str:
    """The part of a prompt that never changes in a run."""
    values = [(name, TERMINALS[name].meaning) for name in ("W", *scene.statistics)]
    return prompts.render(
        "system",
        language=scene.language,
        values=values,
        functions=FUNCTIONS,
        groups=scene.groups,
        allocations=[(name, ALLOCATION_FORMS.get(name, name)) for name in scene.allocations],
        descriptors=DESCRIPTORS if FORMULA in scene.allocations else {},
        solvers=scene.solvers,
        reference=scene.reference,
    )


def neighbours(graph: Graph, alias: str, part: str) -> list[str]:
    """What is known of a recipe that differs in one part only: that part and its result.

    Args:
        graph: The reasoning graph.
        alias: The recipe.
        part: ``metric``, ``group``, ``allocation`` or ``solver``.

    Returns:
        At most six lines, best last, the recipe's own among them.
    """
    key = PARTS[part]
    own = graph.nodes[alias].body
    found: list[tuple[float, str]] = []
    for node in graph.of_kind("mechanism"):
        alike = all(node.body[other] == own[other] for other in PARTS.values() if other != key)
        result = latest_result(graph, node.alias) if alike else None
        if result is not None and result.get("change") is not None:
            found.append((float(result["change"]), f"{node.body[key]}: {_change(result)}"))
    best = sorted(found)[:NEIGHBOURS]
    return [line for _, line in reversed(best)]


def describe(graph: Graph, alias: str, level: Level) -> str:
    """A mechanism at one of three levels of detail."""
    body = graph.nodes[alias].body
    result = latest_result(graph, alias)
    change = _change(result)
    if level == "alias":
        return f"{alias}: {change}"
    parts = [str(body["formula"]), str(body["group"]), str(body["allocation"])]
    if body.get("solver", "none") != "none":
        parts.append(str(body["solver"]))
    line = f"{alias}: {' | '.join(parts)}: {change}"
    if level == "line":
        return line
    if body.get("because"):
        line += f", because {body['because']}"
    return f"{line}\n```python\n{body['source']}```" if "source" in body else line


def latest_result(graph: Graph, alias: str) -> Mapping[str, Any] | None:
    """Body of the newest result of a mechanism; sealed figures are never shown to a designer."""
    found = [n.body for n in graph.sources(alias, "tests") if n.body.get("rung") != "sealed"]
    return found[-1] if found else None


def _change(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not measured"
    if result["status"] != "measured" or result.get("change") is None:
        return str(result.get("code") or result["status"])
    percent = round(100 * float(result["change"]), 1) + 0.0
    return f"{percent:+.1f} %" if abs(percent) < 1000 else "far worse"


def _ranked(graph: Graph) -> list[str]:
    """Measured mechanisms, best first; ties keep the older one first."""
    found: list[tuple[float, int, str]] = []
    for node in graph.of_kind("mechanism"):
        result = latest_result(graph, node.alias)
        if result is not None and result["status"] == "measured" and "change" in result:
            found.append((float(result["change"]), len(found), node.alias))
    return [alias for _, _, alias in sorted(found)]


def _fill(aliases: Sequence[str], graph: Graph, budget: int, count: TokenCounter) -> list[str]:
    """Best first at one line each; what does not fit degrades to its alias, then is dropped."""
    rows: list[str] = []
    for alias in aliases:
        levels: tuple[Level, ...] = ("line", "alias")
        for level in levels:
            row = describe(graph, alias, level)
            if (cost := count(row) + 1) <= budget:
                rows.append(row)
                budget -= cost
                break
    return rows


def _fill_lines(lines: Iterable[str], budget: int, count: TokenCounter) -> list[str]:
    chosen = []
    for line in lines:
        cost = count(line) + 2
        if cost > budget:
            break
        chosen.append(line)
        budget -= cost
    return chosen


def _formulas(graph: Graph, aliases: Iterable[str]) -> list[str]:
    """Formulas of entries that are not in the table, each once."""
    texts = (str(graph.nodes[alias].body["formula"]) for alias in aliases)
    return list(dict.fromkeys(texts))


def _newest(nodes: Iterable[Node]) -> list[Node]:
    return list(nodes)[::-1]


def _facts(graph: Graph) -> list[str]:
    return [str(n.body["text"]) for n in _newest(graph.of_kind("observation")) if "text" in n.body]


def _failures(graph: Graph) -> list[str]:
    """Rejected and clearly worse mechanisms, newest first."""
    lines = []
    for node in _newest(graph.of_kind("mechanism")):
        result = latest_result(graph, node.alias)
        if result is not None and result["status"] == "rejected":
            lines.append(f"{node.body['formula']}: {result['code']}")
    return lines


def _lessons(graph: Graph, retired: Collection[str]) -> list[str]:
    """Lessons that were not retired, newest first."""
    kept = (node for node in _newest(graph.of_kind("lesson")) if node.alias not in retired)
    return [str(node.body["text"]) for node in kept]
