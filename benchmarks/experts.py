"""Experts pruned by each criterion, calibrated on the text that is measured and on another.

The mixture is made from a dense Llama (sparse upcycling): every MLP copied with noise, behind a
random router. Every mixture is measured on both texts, so the table shows what it costs to
calibrate on the wrong one. Without ``--other`` the other text is our own source code. ``--criteria
skip`` leaves out a share of the expert computations and no expert. With ``--part sealed`` every
text measured is a look that the ledger of sealed texts counts. ``--save`` keeps the mixture for
``autoprune compare``. A record also holds which experts stayed, and how the mixture routes. What
was measured is kept: the same command goes on where it stopped, at the same commit.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.comparison.formatting import p_value
from autoprune.digest import digest_json
from autoprune.evaluation.contrasts import contrast, holm
from autoprune.evaluation.perplexity import evaluate_windows, perplexity_of
from autoprune.models.loading import load_model
from autoprune.models.record import source_record
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.saving import save_model
from autoprune.schemes import Experts, Scheme, Skip
from autoprune.schemes.expert_parts import expert_parts
from autoprune.schemes.experts import Criterion
from autoprune.schemes.plan import SchemePlan
from autoprune.storage import read_object, write_json
from autoprune.text.corpora import Corpus, load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.evidence.records import LOSSES
from benchmarks.evidence.writing import write_record
from benchmarks.looks import measured_part
from benchmarks.measured import OUT, ROOT, commit
from benchmarks.table import publish
from benchmarks.upcycled import upcycled

CRITERIA: tuple[Criterion, ...] = tuple(c for c in get_args(Criterion) if c != "auto")
SKIP = Skip.NAME
ROWS = (*CRITERIA, SKIP)
WHOLE = "all experts"
# Not "dense": that name holds the losses of one text in a record, and here are two.
DENSE = "dense Llama"
CHOSEN = "experts.json"
# The criterion whose contrasts count: the best of all subsets.
CHOICE: Criterion = "exhaustive"
# Losses of each window by draw, by what was pruned and the text measured.
Losses = dict[tuple[str, str], dict[int, list[float]]]


def main() -> None:
    """Upcycle, prune by every criterion, measure on both texts, publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL, help="dense Llama")
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.1, help="of copies, in deviations")
    parser.add_argument(
        "--share",
        type=float,
        default=0.25,
        help="of the experts, or of computations",
    )
    parser.add_argument("--criteria", nargs="+", choices=ROWS, default=list(CRITERIA))
    parser.add_argument("--corpus", default="wikipedia-sample", help="own text")
    parser.add_argument("--other", help="text of another domain; default: our own source code")
    parser.add_argument("--draws", type=int, default=1, help="of calibration windows")
    parser.add_argument("--calibration-windows", type=int, default=8)
    parser.add_argument("--measured-windows", type=int, default=16)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--part", choices=("selection", "sealed"), default="selection")
    parser.add_argument("--text-split", type=int, default=0, help="number of the sealed set")
    parser.add_argument("--seed", type=int, default=0, help="of noise, router and random choice")
    parser.add_argument("--record", type=Path, help="folder for the raw record")
    parser.add_argument("--save", type=Path, help="folder for the mixture, in float32")
    args = parser.parse_args()
    loaded = load_model(args.model)
    own, other = load_corpus(args.corpus), load_corpus(args.other) if args.other else _source()
    parts = {"own": split(own, args.text_split), "other": split(other, args.text_split)}
    seen: dict[str, list[Tensor]] = {}
    unseen: dict[str, Tensor] = {}
    asked = {key: value for key, value in vars(args).items() if key not in ("record", "save")}
    count = args.calibration_windows
    for name, texts in parts.items():
        drawn = token_windows(texts.calibration, loaded.tokenizer, count * args.draws, args.seqlen)
        if len(drawn) < count * args.draws:
            raise SystemExit(f"the {name} text has {len(drawn)} calibration windows; ask for fewer")
        seen[name] = [drawn[n * count : (n + 1) * count] for n in range(args.draws)]
        held = measured_part("experts", args.part, texts, asked)
        unseen[name] = token_windows(held, loaded.tokenizer, args.measured_windows, args.seqlen)
    settings = {key: str(asked[key]) for key in asked if key != "criteria"}
    origin = [settings, loaded.source.digest, own.digest, other.digest, commit(ROOT)]
    cells = _Cells(unseen, OUT / "experts" / digest_json(origin)[:16])
    dense, found = loaded.model, cells.found
    cells.measure(DENSE, 0, dense)
    model = upcycled(dense, args.experts, noise=args.noise, seed=args.seed)
    if args.save:
        how = {"upcycled": {"experts": args.experts, "noise": args.noise}}
        record = source_record(args.model, loaded.source.digest, args.seed) | how
        save_model(model, loaded.tokenizer, args.save, record)
    # Of calibration text: how far the mixture is one at all is known before the measured text.
    chosen: dict[str, Any] = {"routing": routing(model, seen["own"][0]), "plans": cells.plans}
    cells.measure(WHOLE, 0, model)
    for criterion in args.criteria:
        scheme: Scheme = Skip() if criterion == SKIP else Experts(criterion)
        for source, draws in seen.items():
            name = f"{criterion}, calibrated on {source}" if scheme.reads_text else criterion
            if (name, "own") in found:
                continue
            for draw, windows in enumerate(draws):
                choose = partial(scheme.plan, model, windows, args.share, seed=args.seed + draw)
                cells.measure(name, draw, model, scheme, choose)
    title = (
        f"{Path(args.model).name} as {args.experts} experts, {args.share:.0%} of them removed; "
        f"perplexity on {args.measured_windows} x {args.seqlen} tokens of the {args.part} part, "
        f"mean of {args.draws} draws"
    )
    publish("experts", title, rows(found), corpora={"own": own.name, "other": other.name})
    chosen["contrasts"] = contrasts(found)
    for one in chosen["contrasts"]:
        low, high = one["interval"]
        against = f"{one['subject']} against {one['rival']}, on own text"
        print(f"{against}: {one['change']:+.1f} % [{low:+.1f}, {high:+.1f}] {p_value(one['p'])}")
    if args.record:
        _write(args, found, chosen, {name: texts.whole for name, texts in parts.items()})


@dataclass
class _Cells:
    """What was measured, each cell kept in a file as soon as it is.

    Args:
        windows: By text, the windows to measure on.
        folder: Of files made from the same model, text and options at the same commit.
        found: Losses so far.
        plans: Plans so far, by name, then draw.
    """

    windows: Mapping[str, Tensor]
    folder: Path
    found: Losses = field(default_factory=dict)
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)

    def measure(
        self,
        name: str,
        draw: int,
        model: PreTrainedModel,
        scheme: Scheme | None = None,
        choose: Callable[[], SchemePlan] | None = None,
    ) -> None:
        """Read the cell, or choose what goes, and measure the model without it on all texts."""
        place = self.folder / f"{name}, draw {draw}.json"
        if not place.exists():
            write_json(place, self._measured(model, scheme, choose))
        cell = read_object(place)
        for text, nll in cell["losses"].items():
            self.found.setdefault((name, text), {})[draw] = nll
        if cell["plan"] is not None:
            self.plans.setdefault(name, {})[str(draw)] = cell["plan"]
        print(f"{name}, draw {draw}", file=sys.stderr, flush=True)

    def _measured(
        self,
        model: PreTrainedModel,
        scheme: Scheme | None,
        choose: Callable[[], SchemePlan] | None,
    ) -> dict[str, Any]:
        with ExitStack() as stack:
            plan = None
            if scheme is not None and choose is not None:
                plan = choose()
                stack.enter_context(scheme.masked(model, plan))
            losses = {t: list(evaluate_windows(model, w).nll) for t, w in self.windows.items()}
        return {"losses": losses, "plan": plan.to_json() if plan else None}


def contrasts(found: Losses) -> list[dict[str, Any]]:
    """What the choice is worth, and the text that it is made on, by loss on own text.

    Returns:
        For each pair that was measured ``change`` and ``interval`` in percent of perplexity, over
        windows and draws, and ``p`` after Holm's correction.
    """
    subject, made = f"{CHOICE}, calibrated on own", []
    for rival in ("random", f"{CHOICE}, calibrated on other"):
        pair = [found.get((name, "own"), {}) for name in (subject, rival)]
        if pair[0] and pair[0].keys() == pair[1].keys():
            ours, theirs = (np.array([own[draw] for draw in sorted(own)]) for own in pair)
            known = contrast((ours - theirs).T)
            made += [(rival, known)] if known is not None else []
    adjusted = holm([known.p for _, known in made])
    return [
        {
            "subject": subject,
            "rival": rival,
            "change": 100 * math.expm1(known.mean),
            "interval": [100 * math.expm1(end) for end in known.interval()],
            "p": p,
        }
        for (rival, known), p in zip(made, adjusted, strict=True)
    ]


def routing(model: PreTrainedModel, windows: Tensor) -> list[dict[str, Any]]:
    """How each block's router chooses on these windows.

    Returns:
        By block: ``tokens``, the share of the choices that each expert has; ``second``, the mean
        weight of a token's second expert.
    """
    parts = [part for part in expert_parts(model) if part is not None]
    with torch.no_grad(), _choices([part.router for part in parts]) as seen:
        for window in windows:
            model(window[None])
    made = []
    for part, own in zip(parts, seen, strict=True):
        weights, numbers = (torch.cat(values) for values in zip(*own, strict=True))
        counts = torch.bincount(numbers.flatten(), minlength=part.count)
        second = weights.sort(-1, descending=True).values[:, 1].double().mean()
        made.append({"tokens": (counts / counts.sum()).tolist(), "second": float(second)})
    return made


@contextmanager
def _choices(routers: list[nn.Module]) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
    """Collect weights and numbers of the chosen experts, by router and call."""
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in routers]
    with ExitStack() as stack:
        for router, own in zip(routers, seen, strict=True):

            def note(_: nn.Module, __: Any, given: Any, own: Any = own) -> None:
                own.append((given[1], given[2]))

            stack.callback(router.register_forward_hook(note).remove)
        yield seen


def rows(found: Losses) -> list[dict[str, Any]]:
    """Perplexity on both texts, of the mean loss over draws."""
    made: dict[str, dict[str, Any]] = {}
    for (name, text), draws in found.items():
        losses = [loss for nll in draws.values() for loss in nll]
        made.setdefault(name, {"experts": name})[f"on {text} text"] = perplexity_of(losses)
    return list(made.values())


def _source() -> Corpus:
    """Our own code: text of another domain that is everywhere where this benchmark is."""
    files = sorted((ROOT / "autoprune").rglob("*.py"))
    texts = (file.read_text(encoding="utf-8") for file in files)
    return Corpus.of("source code of AutoPrune", [text for text in texts if text.strip()])


def _write(
    args: argparse.Namespace, found: Losses, chosen: dict[str, Any], texts: Mapping[str, str]
) -> None:
    """Losses of each window by criterion, then text, then draw; what was chosen beside them."""
    losses: dict[str, Any] = {}
    for (name, text), draws in found.items():
        kept = {str(draw): nll for draw, nll in draws.items()}
        losses.setdefault(name, {})[f"{text} text"] = kept
    write_json(args.record / CHOSEN, chosen)
    write_record(
        args.record,
        LOSSES,
        "python -m benchmarks experts --record evidence/experts",
        ("losses.json", {"methods": losses}),
        private=("--model", "--corpus", "--other", "--save"),
        beside=[CHOSEN],
        texts=dict(texts),
    )


if __name__ == "__main__":
    main()
