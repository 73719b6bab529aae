"""Render a part of the graph as a prompt within a token budget.

The same graph, operator, focus and budget give the same bytes. Servers cache the longest common
prefix of successive prompts, so the constant part of a run comes first, then the part that the
slots of a generation share, then the part that differs between slots. For the same reason, the
budget of the shared part does not depend on the operator, as long as the rest keeps to its own.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoprune.allocation import Given, Ramp
from autoprune.allocation.formula import DESCRIPTORS, KINDS
from autoprune.design import detail, sections
from autoprune.design.chat import Message
from autoprune.design.claims import count_predictions
from autoprune.design.detail import Detail, Level, TokenCounter, fit
from autoprune.design.graph import Graph
from autoprune.design.parsing import LONGEST_LESSON, Language
from autoprune.design.parts import (
    FORMULA,
    Ranges,
    allocation_meaning,
    family,
    program_fault,
    repair_of,
)
from autoprune.design.prompts import Prompts
from autoprune.design.repairs import meaning
from autoprune.design.scheme_moves import BLOCK_WORDS, RATES
from autoprune.design.sections import Tally
from autoprune.masking import NM
from autoprune.metrics.language import FUNCTIONS, TERMINALS
from autoprune.metrics.language.vocabulary import OPERATIONS
from autoprune.programs.manual import manual
from autoprune.repair import NONE

# Share of the room after the system prompt for the instruction and the steps to its recipe.
TAIL_SHARE = 0.36
# Share of that room above which the instruction omits a recipe's code or reason.
FOCUS_SHARE = 0.6
# Shares of the shared part; the table gets the rest.
SHARES = {
    "waiting": 0.06,
    "known": 0.1,
    "facts": 0.13,
    "failures": 0.08,
    "claims": 0.14,
    "lessons": 0.12,
}
# Prompt budget in tokens from which the system prompt explains every word, sign and repair.
WIDE = 1200
# Rows of the table after which only formulas are listed, so that they are not proposed again.
TABLE_ROWS = 6
PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]")
LETTERS_PER_TOKEN = 6


@dataclass(frozen=True)
class Scene:
    """Content that stays the same during a run.

    Args:
        language: Allowed language of candidates.
        statistics: Names of the values other than ``W``.
        groups: Comparison groups to choose from.
        allocations: Families of allocations to choose from.
        repairs: Repairs to choose from.
        reference: Alias of the entry that changes are measured against.
        percent: Target sparsity in percent.
        pattern: N:M pattern, which fixes layer budgets and comparison groups; None: unstructured.
        budget: Tokens of a whole prompt.
        allocation_forms: An example of each family of allocations, drawn at random to avoid hints.
        repair_form: An example of a repair with a changed number; empty if none can be changed.
        words: Words of allocation formulas.
        functions: Functions of the metric language.
        ranges: Numbers that may be changed, by allocation or repair, then parameter.
        tuned: Whether the search tunes numbers itself and has room for it.
        left: Remaining budget, in words; may be empty.
        generation: The current generation, of about how many; may be empty.
        composed: Whether two repairs may be joined.
        pair: Whether to compare two recipes instead of writing one.
        schemes: Families of schemes, each with its changeable parameters, instead of metrics.
        text: Calibration windows and the tokens of each, for programs.
        seconds: Limit of one call of a program; None: by its sizes.
        ranked_by: What orders recipes, in words; empty: their perplexity.
    """

    language: Language
    statistics: Sequence[str]
    groups: Sequence[str]
    allocations: Sequence[str]
    repairs: Sequence[str]
    reference: str
    percent: float
    budget: int
    allocation_forms: Sequence[str] = ()
    repair_form: str = ""
    words: Sequence[str] = tuple(DESCRIPTORS)
    functions: Sequence[str] = FUNCTIONS
    ranges: Ranges = field(default_factory=dict)
    tuned: bool = True
    left: str = ""
    generation: str = ""
    composed: bool = False
    pair: bool = False
    schemes: Sequence[tuple[str, str]] = ()
    text: tuple[int, int] | None = None
    seconds: float | None = None
    ranked_by: str = ""
    pattern: NM | None = None

    @property
    def wide(self) -> bool:
        """Whether there is room to explain."""
        return self.pair or self.budget >= WIDE


@dataclass(frozen=True)
class Focus:
    """Subject of an operator.

    Args:
        aliases: Mechanisms that it works on, the main one first.
        hint: One idea to try.
        place: Which of how many alike questions this is, in words; empty if there are no others.
        part: The only part of a recipe that is requested.
        blank: Its formula with a place to fill.
        planned: Recipes that other slots of the generation measure without a designer.
        recipes: Recipes in words that are not in the graph; they come after those of ``aliases``.
    """

    aliases: Sequence[str] = ()
    hint: str = ""
    part: str | None = None
    blank: str = ""
    planned: Sequence[str] = ()
    recipes: Sequence[str] = ()
    place: str = ""


@dataclass(frozen=True)
class Rendered:
    """A rendered prompt.

    Args:
        messages: Messages to send.
        lessons: Aliases of the lessons that it shows.
    """

    messages: tuple[Message, ...]
    lessons: tuple[str, ...] = ()


def estimate_tokens(text: str) -> int:
    """Estimate an upper limit for the tokens of a text, without a tokenizer.

    Words count one token per six letters, digits and signs one each, and other characters one per
    byte. The estimate is 5 to 13 % above Qwen2.5's own count on our prompts.
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
    focus: Focus,
    *,
    lessons: Mapping[str, Tally],
    reasons: bool = True,
    count: TokenCounter = estimate_tokens,
) -> Rendered:
    """Render the messages of one request."""
    system = render_system(prompts, scene)
    order = sections.ranked(graph)
    names, lessons_shown = sections.lessons(graph, lessons) if reasons else ([], [])
    items: dict[str, list[Detail]] = {
        "waiting": sections.waiting(graph, scene.ranges, focus.planned) if reasons else [],
        "known": sections.formulas(graph, order[TABLE_ROWS:], known=order[:TABLE_ROWS]),
        "facts": sections.facts(graph, wide=scene.wide) if reasons else sections.plain_facts(graph),
        "failures": sections.failures(graph),
        "claims": sections.claims(graph) if reasons else [],
        "lessons": lessons_shown,
        "steps": _steps(graph, focus, order, scene.ranges) if reasons else [],
    }
    right, wrong = count_predictions(graph)
    values = {
        "goal": str(scene.pattern) if scene.pattern else f"{scene.percent:g} % sparsity",
        "reference": scene.reference,
        "right": right,
        "wrong": wrong,
        "left": scene.left,
        "generation": scene.generation if scene.wide else "",
        "bar": "" if scene.pair else sections.bar(graph, scene.reference),
        "noise": sections.noise(graph),
        "ranked_by": scene.ranked_by,
        "place": focus.place,
    }
    # Headings of the sections that have content.
    frame = {name: [""] if found else [] for name, found in items.items()}
    heading = [""] if order else []
    empty = prompts.render("user", **values, **frame, table=heading, instruction="")
    room = max(0, scene.budget - count(system) - count(empty))
    instruction = _instruction(prompts, scene, graph, operator, focus, room, count)
    asked = count(instruction)
    tail = int(room * TAIL_SHARE) if reasons else asked
    left = max(0, room - max(tail, asked))
    fitted: dict[str, dict[int, str]] = {}
    for name, share in SHARES.items():
        least: Level = "line" if name == "lessons" else "alias"
        fitted[name] = fit(items[name], int(left * share), count, least=least)
    steps = fit(items["steps"], tail - asked, count, gaps=False)
    # The instruction already has the figure of the last step.
    fitted["steps"] = steps if steps and steps[0] != items["steps"][0].alias else {}
    # The table gets the tokens that the others leave.
    used = sum(count(t) + detail.BULLET for name in SHARES for t in fitted[name].values())
    rows = [detail.mechanism(graph, alias, scene.ranges) for alias in order]
    table = fit(rows, left - used, count, most="line", overhead=1)
    shown = {name: list(found.values()) for name, found in fitted.items()}
    named = {
        str(graph.nodes[order[place]].body["formula"])
        for place, text in table.items()
        if text == rows[place].line
    }
    shown["known"] = [formula for formula in shown["known"] if formula not in named]
    shown |= {"table": list(table.values())[::-1], "steps": shown["steps"][::-1]}
    user = prompts.render("user", **values, **shown, instruction=instruction)
    messages = (Message("system", system), Message("user", user))
    return Rendered(messages, tuple(names[place] for place in fitted["lessons"]))


def render_system(prompts: Prompts, scene: Scene) -> str:
    """Render the part of a prompt that stays the same in a run until tuning ends."""
    values = [(name, _meaning(name, wide=scene.wide)) for name in ("W", *scene.statistics)]
    # A short prompt has no room for a word of every kind of matrix.
    known = [word for word in scene.words if scene.wide or word not in KINDS]
    words = known if FORMULA in scene.allocations else ()
    is_program = scene.language == "program"
    groups = [g for g in scene.groups if not (is_program and program_fault(g, NONE))]
    repairs = [r for r in scene.repairs if not (is_program and program_fault(groups[0], r))]
    parts = (("group", groups), ("allocation", scene.allocations), ("repair", repairs))
    rated = any(f"{RATES}=" in genes for _, genes in scene.schemes)
    return prompts.render(
        "pair_system" if scene.pair else "scheme_system" if scene.schemes else "system",
        language=scene.language,
        manual=manual() if is_program else "",
        text=scene.text,
        seconds=scene.seconds,
        values=values,
        functions=[(name, OPERATIONS[name].meaning) for name in scene.functions],
        groups=groups,
        pattern=scene.pattern,
        kept=_listed([name for name, choices in parts if len(choices) > 1]),
        allocations=scene.allocation_forms or scene.allocations,
        budgets=[(name, allocation_meaning(name)) for name in scene.allocations if name != FORMULA],
        words=[(name, DESCRIPTORS[name]) for name in words],
        # Users replace templates, so these keep the name of repairs.
        solvers=[(name, meaning(name) if scene.wide else "") for name in repairs],
        repair_form=scene.repair_form,
        numbers=_numbers(scene) if scene.wide else [],
        reference=scene.reference,
        wide=scene.wide,
        tuned=scene.tuned,
        composed=scene.composed,
        schemes=scene.schemes,
        rates=[(w, DESCRIPTORS[w]) for w in BLOCK_WORDS if w in scene.words and rated],
        half_width=Ramp.half_width,
    )


def _meaning(name: str, *, wide: bool) -> str:
    value = TERMINALS[name]
    return f"{value.meaning}, never below 0" if wide and value.nonnegative else value.meaning


def _listed(names: Sequence[str]) -> str:
    """Join names as in ``group, allocation and repair``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _numbers(scene: Scene) -> list[tuple[str, str]]:
    """Return the bounds of the numbers that may be changed in this search."""
    # Prompts do not ask for the repair if there is only one.
    repairs = scene.repairs if len(scene.repairs) > 1 else ()
    names = [family(text) for text in (*scene.allocations, *repairs)]
    parts = {part.NAME for repair in repairs for part in repair_of(repair).parts}
    return [
        (f"{name}:{key}", f"{low:g} to {high:g}")
        for name in dict.fromkeys([*names, *sorted(parts)])
        for key, (low, high) in scene.ranges.get(name, {}).items()
    ]


def _steps(graph: Graph, focus: Focus, order: Sequence[str], ranges: Ranges) -> list[Detail]:
    """Return the steps that led to the operator's recipe, or to the best one if it has none."""
    about = focus.aliases[:1] or order[:1]
    return sections.path(graph, about[0], ranges) if about else []


def _instruction(
    prompts: Prompts,
    scene: Scene,
    graph: Graph,
    operator: str,
    focus: Focus,
    room: int,
    count: TokenCounter,
) -> str:
    """Fill the operator's template, shortening recipes and dropping neighbours until it fits."""
    near = []
    if focus.part:
        near = sections.neighbours(graph, focus.aliases[0], focus.part, scene.ranges)
    bar = sections.bar(graph, scene.reference)
    about = focus.aliases

    template = f"operators/{operator}"
    own = f"operators/program/{operator}"
    if scene.language == "program" and focus.part is None and f"{own}.j2" in prompts.names:
        template = own
        # A line of the table does not say what code does, so the best is shown as code.
        about = about or [alias for alias in (bar,) if alias in graph.nodes]
    elif operator == "propose" and bar in graph.nodes and "source" in graph.nodes[bar].body:
        about = [bar]
    recipes = [detail.mechanism(graph, alias, scene.ranges) for alias in about]
    listed = False
    if scene.language == "scheme" and focus.part is None and operator != "reflect":
        # Rates by block are evolved by the designer as Self-Pruner does: select, cross, mutate.
        rated = [f"{RATES}=" in text for text in _parents(scene, recipes)]
        template = "operators/rates" if all(rated) else "operators/scheme"
        listed = all(f"{RATES}={Given.NAME}:" in found.line for found in recipes)

    def filled(level: Level, first: int) -> str:
        return prompts.render(
            template,
            focus=[*(found.at(level) for found in recipes), *focus.recipes],
            hint=focus.hint,
            reference=scene.reference,
            operator=operator,
            listed=listed,
            # Its name in templates, as above.
            part="solver" if focus.part == "repair" else focus.part or "",
            blank=focus.blank,
            neighbours=near[first:],
            repair_form=scene.repair_form,
            bar=bar,
            longest_lesson=LONGEST_LESSON,
        )

    levels: tuple[Level, ...] = ("full", "line", "alias")
    bare = [(level, filled(level, len(near))) for level in levels]
    limit = int(room * FOCUS_SHARE)
    level, least = next((pair for pair in bare if count(pair[1]) <= limit), bare[-1])
    # Drop the worst neighbours first.
    texts = (filled(level, first) for first in range(len(near)))
    fitting = (text for text in texts if count(text) <= int(room * TAIL_SHARE))
    return next(fitting, least)


def _parents(scene: Scene, recipes: Sequence[Detail]) -> list[str]:
    """Lines of the parents, or the families to choose from where a question names no parent."""
    return [found.line for found in recipes] or [genes for _, genes in scene.schemes]
