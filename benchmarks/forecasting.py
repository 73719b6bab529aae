"""Is the graph worth more than a list? Which of two measured recipes is better, asked four ways.

Pairs of recipes come out of a real search's log. Each is asked with nothing, with a list of all
other results, with the reasoning graph without these two, and with that graph's results shuffled
among recipes (the placebo). A question is a file, ``ID.json``, with a readable twin ``ID.md``; its
answer is ``ID.answer.txt``: ``better: A`` or ``better: B``. Anybody may answer, or with
``--designer`` a model does. Only pairs that the windows tell apart are
asked. No evaluation is spent.

A reader of two of these questions meets, in one, what the other asks. A person or an agent
who remembers needs ``--held-out 0.5``: pairs are drawn among half of the recipes, of which no
question says anything, and one reader answers all questions of one context and no others. A record
of such questions can be put to another reader with ``--like RECORD``, without the log.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from autoprune.comparison.formatting import p_value
from autoprune.design.chat import ChatRequest, Message, Reply
from autoprune.design.detail import recipe_line
from autoprune.design.graph import Graph
from autoprune.design.prompts import Prompts
from autoprune.design.render import Focus, Scene, render_prompt
from autoprune.design.shown import permuted, without
from autoprune.evaluation.contrasts import holm
from autoprune.evaluation.intervals import wilson
from autoprune.models.reference import DEMO_MODEL
from autoprune.search.spec import DesignerSpec, SearchSpec
from autoprune.storage import write_json, write_text
from benchmarks.evidence.records import FORECASTS, read_json
from benchmarks.evidence.writing import write_record
from benchmarks.known_log import KnownLog, read_log
from benchmarks.measured import OUT
from benchmarks.table import publish
from tasks.design import DesignerSession
from tasks.state import State

CONTEXTS = ("nothing", "list", "graph", "graph-permuted")
GRAMMAR = 'root ::= "better: " ("A" | "B") "\\n"\n'
ANSWER = re.compile(r"\b([AB])\b")
LONGEST_ANSWER = 2000


@dataclass(frozen=True)
class Pair:
    """Two recipes and which is better; ``first`` is shown as A."""

    number: int
    first: str
    second: str
    better: str


@dataclass(frozen=True)
class Question:
    """One pair under one context; ``recipes`` are its lines A and B."""

    pair: Pair
    recipes: tuple[str, str]
    context: str
    request: ChatRequest

    @property
    def id(self) -> str:
        """Name of its files."""
        return f"p{self.pair.number:03d}-{self.context}"

    @property
    def truth(self) -> str:
        """The right answer; in no file."""
        return "A" if self.pair.better == self.pair.first else "B"


def main() -> None:
    """Write the questions, ask a designer where one is named, and grade what is answered."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--log", type=Path, help="folder of a search")
    source.add_argument(
        "--like", type=Path, help="record whose questions are asked again, of held-out recipes"
    )
    parser.add_argument("--folder", type=Path, default=OUT / "forecasting", help="of the questions")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--contexts", nargs="+", choices=CONTEXTS, default=list(CONTEXTS))
    parser.add_argument(
        "--held-out", type=float, default=0.0, help="share of recipes that pairs are of and no "
        "question shows; 0: each question shows all but its two"
    )  # fmt: skip
    parser.add_argument("--tokens", type=int, default=4000, help="budget of one question")
    parser.add_argument("--seed", type=int, default=0, help="of pairs, their order, the placebo")
    parser.add_argument("--designer", help="kind of designer that answers: openai, local, self")
    parser.add_argument("--designer-model", help="its model")
    parser.add_argument("--base-url", help="address of its endpoint")
    parser.add_argument("--record", type=Path, help="folder for the raw record")
    parser.add_argument("--answered-by", help="who answered, for the record")
    args = parser.parse_args()
    asked, title, target = _asked(args)
    for question in asked:
        write_question(args.folder, question)
    if args.designer:
        spec = DesignerSpec(
            kind=args.designer,
            model=args.designer_model,
            base_url=args.base_url,
            prompt_tokens=args.tokens,
            answer_tokens=16,
        )
        ask(args.folder, asked, spec, target)
    answers = {q.id: read_answer(args.folder, q.id) for q in asked}
    answered = sum(answer is not None for answer in answers.values())
    if not answered:
        print(
            f"{len(asked)} questions on {title} lie in {args.folder}; write each answer to "
            "ID.answer.txt and run this again",
            file=sys.stderr,
        )
        return
    rows = graded(asked, answers, args.contexts)
    results = [
        {"id": q.id, "truth": q.truth, "answer": answers[q.id], **vars(q.pair)} for q in asked
    ]
    publish("forecasting", f"{title}, {answered} answers", rows, results=results)
    if args.record:
        _write(args, asked, answers)


def _asked(args: argparse.Namespace) -> tuple[list[Question], str, str]:
    """The questions, what pairs they are on, and the model that recipes are for."""
    if args.like:
        found = recorded_questions(args.like, args.pairs, args.contexts, args.seed)
        return found, f"{len({q.pair for q in found})} pairs of {args.like}", DEMO_MODEL
    known = read_log(args.log)
    hidden = held_out(known, args.held_out, args.seed)
    pairs = drawn_pairs(known, args.pairs, args.seed, hidden)
    if not pairs:
        raise SystemExit(f"{args.log} has no two recipes that its windows tell apart")
    found = list(questions(known, pairs, args.contexts, args.tokens, args.seed, hidden))
    title = f"{len(pairs)} pairs of {len(known.measured)} measured recipes"
    return found, title, known.spec.model


def _write(
    args: argparse.Namespace, asked: Sequence[Question], answers: Mapping[str, str | None]
) -> None:
    """``record.json`` and ``forecasts.json``: every pair, truth and answer, and what was shown."""
    first = [q for q in asked if q.pair.number == 0]
    pairs = [
        {"recipes": list(question.recipes), "better": question.truth}
        for question in asked
        if question.context == args.contexts[0]
    ]
    given = {
        context: [answers[q.id] for q in asked if q.context == context] for context in args.contexts
    }
    shown = {q.context: [message.content for message in q.request.messages] for q in first}
    body = {"pairs": pairs, "answers": given, "question of the first pair": shown}
    write_record(
        args.record,
        FORECASTS,
        f"python -m benchmarks forecasting{' --log LOG' if args.log else ''}",
        ("forecasts.json", body),
        ("--log", "--folder", "--answered-by", "--base-url"),
        answered_by=args.answered_by or args.designer,
    )


def held_out(known: KnownLog, share: float, seed: int) -> frozenset[str]:
    """Recipes that no question shows, drawn by the seed; the reference is none of them."""
    if not 0.0 <= share < 1.0:
        raise SystemExit(f"--held-out {share:g} is not a share; give 0.5, or 0 for none")
    measured = [alias for alias in known.measured if alias != known.spec.reference]
    return frozenset(Random(f"held out {seed}").sample(measured, round(share * len(measured))))


def drawn_pairs(
    known: KnownLog, count: int, seed: int, among: frozenset[str] = frozenset()
) -> list[Pair]:
    """Pairs that the windows tell apart, drawn by the seed, in an order drawn by it too.

    Args:
        known: Measured recipes.
        count: Pairs, at most.
        seed: Of the draw.
        among: Recipes that both are of; empty: all.
    """
    clear = []
    # The one that changes are counted from stands in every table.
    measured = [alias for alias in known.measured if alias != known.spec.reference]
    measured = [alias for alias in measured if not among or alias in among]
    for one, other in combinations(measured, 2):
        difference = known.compare(one, other)
        if difference is not None and difference.verdict != "unclear":
            clear.append((one, other, one if difference.better else other))
    rng = Random(f"pairs {seed}")
    chosen = rng.sample(clear, min(count, len(clear)))
    found = []
    for number, (one, other, better) in enumerate(chosen):
        first, second = rng.sample((one, other), 2)
        found.append(Pair(number, first, second, better))
    return found


def questions(
    known: KnownLog,
    pairs: Sequence[Pair],
    contexts: Sequence[str],
    tokens: int,
    seed: int,
    hidden: frozenset[str] = frozenset(),
) -> Iterator[Question]:
    """Every pair under every context; the two themselves, and those hidden, are in none."""
    prompts, scene = Prompts(), scene_of(known.spec, tokens)
    for pair in pairs:
        two = (pair.first, pair.second)
        rest = without(known.graph, hidden.union(two))
        first, second = (recipe_line(known.graph.nodes[alias].body, scene.ranges) for alias in two)
        for context in contexts:
            rendered = render_prompt(
                prompts,
                scene,
                _shown(context, rest, seed, known.spec.reference),
                "pair",
                Focus(recipes=[first, second]),
                lessons=_lessons(context, known.lessons),
                reasons=context.startswith("graph"),
            )
            request = ChatRequest(rendered.messages, 16, 0.0, seed, GRAMMAR)
            yield Question(pair, (first, second), context, request)


def _shown(context: str, rest: Graph, seed: int, reference: str) -> Graph:
    if context == "nothing":
        return Graph()
    return permuted(rest, seed, {reference}) if context == "graph-permuted" else rest


def _lessons(context: str, known: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[int, int]]:
    """How often each lesson helped and hurt, which follows from results; in a placebo, never."""
    if context == "graph-permuted":
        return dict.fromkeys(known, (0, 0))
    return known if context == "graph" else {}


def scene_of(spec: SearchSpec, tokens: int) -> Scene:
    """What all questions on one log explain."""
    choices = spec.choices
    return Scene(
        language=spec.language,
        statistics=choices.statistics,
        groups=choices.groups,
        allocations=choices.allocations,
        repairs=choices.all_repairs,
        reference=spec.reference,
        percent=100 * spec.sparsity,
        budget=tokens,
        words=choices.words,
        functions=choices.hidden.left(Scene.functions),
        ranges=choices.ranges,
        pair=True,
    )


def write_question(folder: Path, question: Question) -> None:
    """``ID.json`` and ``ID.md``; the same question gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "id": question.id,
        "operator": "pair",
        "request": question.request.to_json(),
        "answer_form": "better: A, or better: B",
        "answer_file": f"{question.id}.answer.txt",
    }
    write_json(folder / f"{question.id}.json", body)
    text = "\n\n".join(message.content for message in question.request.messages)
    write_text(folder / f"{question.id}.md", f"{text}\n\nAnswer file: {body['answer_file']}\n")


def read_answer(folder: Path, name: str) -> str | None:
    """``A``, ``B``, or None: no answer, or none of the two."""
    path = folder / f"{name}.answer.txt"
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(LONGEST_ANSWER).decode("utf-8", "replace")
    found = ANSWER.findall(text.rpartition("better:")[2] if "better:" in text else text)
    return found[0] if found and len(set(found)) == 1 else None


def recorded_questions(
    folder: Path, count: int, contexts: Sequence[str], seed: int
) -> list[Question]:
    """The questions of a record, each made of the first one of its context.

    Where no question shows a pair's recipes, those of a context differ in their lines A and B only.

    Args:
        folder: Of the record.
        count: Pairs, at most, from the first.
        contexts: Which to ask under.
        seed: Of the designer's sampling.

    Raises:
        SystemExit: If the record's pairs were not held out of its questions.
    """
    if not re.search(r"--held-out 0\.\d", read_json(folder / "record.json")["command"]):
        raise SystemExit(
            f"{folder}: its questions show other pairs' recipes, so each is different; give a "
            "record that was made with --held-out, or --log"
        )
    record = read_json(folder / "forecasts.json")
    lines = "A: {}\nB: {}\n"
    around = {}
    for context in contexts:
        system, user = record["question of the first pair"][context]
        before, shown, after = user.rpartition(lines.format(*record["pairs"][0]["recipes"]))
        if not shown:
            raise SystemExit(f"{folder}: its question under {context} does not show its pair")
        around[context] = system, before, after
    found = []
    for number, pair in enumerate(record["pairs"][:count]):
        first, second = pair["recipes"]
        names = (f"{number}A", f"{number}B")
        made = Pair(number, *names, names["AB".index(pair["better"])])
        for context, (system, before, after) in around.items():
            text = before + lines.format(first, second) + after
            messages = (Message("system", system), Message("user", text))
            request = ChatRequest(messages, 16, 0.0, seed, GRAMMAR)
            found.append(Question(made, (first, second), context, request))
    return found


def ask(folder: Path, asked: Sequence[Question], spec: DesignerSpec, target: str) -> None:
    """Let a designer answer what has no answer yet; ``target`` is the model recipes are for."""
    open_now = [q for q in asked if read_answer(folder, q.id) is None]
    # One context after the other: a local server keeps what two prompts in a row begin with.
    open_now.sort(key=lambda question: question.context)
    with closing(DesignerSession(spec, State.open(), target=target)) as session:
        for place, question in enumerate(open_now, 1):
            reply = session.answer(question.request)
            if isinstance(reply, Reply):
                write_text(folder / f"{question.id}.answer.txt", reply.text)
            print(f"{question.id} ({place} of {len(open_now)})", file=sys.stderr, flush=True)


def graded(
    asked: Sequence[Question], answers: Mapping[str, str | None], contexts: Sequence[str]
) -> list[dict[str, Any]]:
    """Hits of each context, and against the list on the pairs that both answered."""
    right: dict[str, dict[int, bool]] = {context: {} for context in contexts}
    for question in asked:
        answer = answers[question.id]
        if answer is not None:
            right[question.context][question.pair.number] = answer == question.truth
    base = "list" if right.get("list") else contexts[0]
    tests = {c: mcnemar(right[c], right[base]) for c in contexts if c != base and right[c]}
    adjusted = dict(zip(tests, holm([found[2] for found in tests.values()]), strict=True))
    rows = []
    for context in contexts:
        found = right[context]
        row: dict[str, Any] = {"context": context, "answered": len(found)}
        row["hits"] = sum(found.values())
        row["hit rate"] = "-"
        if found:
            low, high = wilson(row["hits"], len(found))
            row["hit rate"] = f"{row['hits'] / len(found):.1%} [{low:.1%}, {high:.1%}]"
        row[f"against {base}"] = "-"
        if context in tests:
            gained, lost, _ = tests[context]
            row[f"against {base}"] = f"+{gained} -{lost} {p_value(adjusted[context])}"
        rows.append(row)
    return rows


def mcnemar(one: Mapping[int, bool], other: Mapping[int, bool]) -> tuple[int, int, float]:
    """Pairs that only one got right, that only the other did, and the exact two-sided p."""
    both = one.keys() & other.keys()
    gained = sum(one[pair] and not other[pair] for pair in both)
    lost = sum(other[pair] and not one[pair] for pair in both)
    if gained + lost == 0:
        return 0, 0, 1.0
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    return gained, lost, float(binomtest(gained, gained + lost).pvalue)
