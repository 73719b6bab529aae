"""Every allocator against its formula, written out straight; budgets exact; clear errors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from autoprune.allocation import ALLOCATORS, ModelContext, allocate, build_allocator
from autoprune.allocation.formula import with_numbers
from autoprune.allocation.middle import FOUND, curve
from autoprune.allocation.selection import auto_grid
from autoprune.allocation.spectral import relative_to_kind
from autoprune.errors import UnknownNameError, UsageError

SHAPES = {"q": (12, 16), "k": (4, 16), "up": (24, 16), "down": (16, 24)}
BLOCKS = 5


@dataclass
class Matrix:
    name: str
    block: int
    weight: Tensor

    @property
    def numel(self) -> int:
        return self.weight.numel()

    def read(self) -> Tensor:
        return self.weight


class Norms:
    def __init__(self, layers: list[Matrix]) -> None:
        generator = torch.Generator().manual_seed(5)
        self.values = {
            m.name: {"x_norm": torch.rand(m.weight.shape[1], generator=generator) + 0.1}
            for m in layers
        }

    def of(self, layer_name: str) -> Mapping[str, Tensor]:
        return self.values[layer_name]


def make_context(seed: int = 0) -> ModelContext:
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for block in range(BLOCKS):
        for kind, shape in SHAPES.items():
            weight = torch.randn(shape, generator=generator)
            weight = weight.sign() * weight.abs() ** (1.0 + 0.3 * (block % 3))
            layers.append(Matrix(f"b.{block}.{kind}", block, weight))
    return ModelContext(layers, Norms(layers))


def block_rates(rates: dict[str, float]) -> list[float]:
    for block in range(BLOCKS):
        assert len({rates[f"b.{block}.{kind}"] for kind in SHAPES}) == 1
    return [rates[f"b.{block}.q"] for block in range(BLOCKS)]


EVERY = [
    "uniform",
    "given:0.5/0.6/0.7/0.8/0.4",
    "sdsa",
    "sdsa:statistic=skew,level=projection",
    "owl",
    "owl:level=projection",
    "alpha",
    "alpha:fit=mid,level=projection",
    "alpha:bug_compatible=true",
    "dlp",
    "dlp:central=mean,level=projection",
    "ramp",
    "ramp:beta=0.05,relax_last=0.5",
    "middle:strength=0.7",
    "formula:0.1 * depth - 0.05 * soft(tail) + 0.02 * size - 0.01 * skew * last",
    "formula:abs(score) * 0.1 - first * outliers",
]


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("target", [0.0, 0.3, 0.6, 0.8, 0.97])
def test_budget_bounds_and_determinism(text: str, target: float) -> None:
    ctx = make_context()
    allocator = build_allocator(text)
    rates = allocate(allocator, ctx, target)
    sizes = {unit.name: unit.numel for unit in ctx.units}
    assert list(rates) == list(sizes)
    mean = math.fsum(rates[n] * sizes[n] for n in sizes) / sum(sizes.values())
    assert mean == pytest.approx(target, abs=1e-12)
    assert all(0.0 <= rate <= max(0.95, (1 + target) / 2) for rate in rates.values())
    assert allocate(build_allocator(allocator.text), make_context(), target) == rates


def test_every_registered_allocator_is_covered_and_documented() -> None:
    names = {name for name, _ in ALLOCATORS.items()}
    assert {text.partition(":")[0] for text in EVERY} == names
    for name, kind in ALLOCATORS.items():
        assert name == kind.NAME and kind.SOURCE and kind.summary().endswith((".", ")"))
    assert ALLOCATORS.get("owl").defaults() == {"m": 5.0, "lam": 0.08, "level": "block"}
    # What is listed says whose statistic it is, and what it is worth.
    sdsa = ALLOCATORS.get("sdsa")
    assert "no gain beyond a depth ramp is shown" in sdsa.summary()
    assert "statistic is skew (skewness of |W|); tail is ours" in sdsa.SOURCE


def test_sdsa_equals_its_formula() -> None:
    ctx = make_context()
    gamma, errors = [], []
    for block in range(BLOCKS):
        names = [f"b.{block}.{kind}" for kind in SHAPES]
        sizes = np.array([ctx.weight(name).numel() for name in names])
        skews, parts = [], []
        for name in names:
            a = np.abs(ctx.weight(name).double().numpy()).ravel()
            skews.append(moment(a))
            count = min(17, a.size // 16)
            pieces = [moment(a[start::count]) for start in range(count)]
            parts.append(np.std(pieces, ddof=1) / count**0.5)
        gamma.append((sizes * skews).sum() / sizes.sum())
        errors.append(math.sqrt(((sizes * parts) ** 2).sum()) / sizes.sum())
    scale = max(float(np.std(gamma)), 32 * float(np.median(errors)))
    z = (np.array(gamma) - np.median(gamma)) / scale
    # The softmax of a unit against the median one.
    p = np.exp(z / 0.5) / (np.exp(z / 0.5) + 1)
    rates = build_allocator("sdsa:strength=0.2,temperature=0.5,statistic=skew").rates(ctx, 0.6)
    assert block_rates(rates) == pytest.approx((0.6 - 0.2 * (2 * p - 1)).tolist(), abs=1e-9)


def moment(a: np.ndarray) -> float:
    return float((((a - a.mean()) / a.std()) ** 3).mean())


def even_layers(shape: tuple[int, int], blocks: int, kinds: int = 1) -> list[Matrix]:
    """Layers of one Gaussian distribution, as in a model whose layers do not differ."""
    generator = torch.Generator().manual_seed(11)
    return [
        Matrix(f"b.{block}.{kind}", block, torch.randn(shape, generator=generator))
        for block in range(blocks)
        for kind in range(kinds)
    ]


@pytest.mark.parametrize("text", ["sdsa", "sdsa:statistic=skew", "formula:-0.15*soft(tail)"])
def test_layers_of_one_distribution_get_equal_budgets(text: str) -> None:
    ctx = ModelContext(even_layers((576, 576), 30))
    rates = allocate(build_allocator(text), ctx, 0.6)
    assert max(abs(rate - 0.6) for rate in rates.values()) <= 0.01
    # The strength bounds what noise may do as well.
    strong = allocate(build_allocator("sdsa:strength=0.3"), ctx, 0.6)
    assert max(abs(rate - 0.6) for rate in strong.values()) <= 0.02


@pytest.mark.parametrize("statistic", ["tail", "skew"])
@pytest.mark.parametrize(("level", "kinds"), [("block", 1), ("block", 3), ("projection", 3)])
def test_a_layer_with_outlying_weights_loses_least(statistic: str, level: str, kinds: int) -> None:
    layers = even_layers((576, 576), 12, kinds)
    layers[5 * kinds].weight.view(-1)[: 33 * 7919 : 7919] = 20.0
    allocator = build_allocator(f"sdsa:statistic={statistic},level={level}")
    ctx = ModelContext(layers)
    rates = allocate(allocator, ctx, 0.6)
    assert min(rates, key=rates.__getitem__) == layers[5 * kinds].name
    assert rates[layers[5 * kinds].name] < 0.58
    # The strength bounds the raw deviation; the others keep their budget but for the shift.
    raw = allocator.rates(ctx, 0.6)
    assert all(abs(rate - 0.6) <= 0.15 for rate in raw.values())
    others = [rate for name, rate in raw.items() if not name.startswith("b.5.")]
    assert max(abs(rate - 0.6) for rate in others) <= 0.01


def test_sdsa_does_not_see_the_scale_of_a_matrix() -> None:
    ctx, other = make_context(), make_context()
    for layer in other.layers:
        layer.weight *= 3.0 + layer.block  # type: ignore[attr-defined]
    sdsa = build_allocator("sdsa")
    left, right = sdsa.rates(ctx, 0.6), sdsa.rates(other, 0.6)
    assert [left[n] for n in left] == pytest.approx([right[n] for n in left], abs=1e-6)


def test_owl_equals_its_formula() -> None:
    ctx = make_context()
    ratio = []
    for block in range(BLOCKS):
        names = [f"b.{block}.{kind}" for kind in SHAPES]
        scores = torch.cat([(ctx.weight(n).abs() * ctx.stats(n)["x_norm"]).ravel() for n in names])
        ratio.append(100 * float((scores > 3 * scores.mean()).double().mean()))
    d = np.array(ratio)
    d = (d - d.min()) / (d.max() - d.min()) * 2 * 0.1
    keep = d - d.mean() + 0.4
    rates = build_allocator("owl:m=3,lam=0.1").rates(ctx, 0.6)
    assert block_rates(rates) == pytest.approx((1 - keep).tolist(), abs=1e-9)


@pytest.mark.parametrize("central", ["median", "mean"])
def test_dlp_equals_its_formula(central: str) -> None:
    ctx = make_context()
    take: Callable[[Tensor], Tensor] = torch.median if central == "median" else torch.mean
    centre = np.zeros(BLOCKS)
    for unit in ctx.units:
        centre[unit.block] += float(
            take(ctx.weight(unit.name).abs() * ctx.stats(unit.name)["x_norm"])
        )
    importance = 1 - centre / centre.sum()
    d = (importance - importance.min()) / (importance.max() - importance.min()) * 0.2
    rates = build_allocator(f"dlp:alpha=0.1,central={central}").rates(ctx, 0.6)
    assert block_rates(rates) == pytest.approx((0.6 - d + d.mean()).tolist(), abs=1e-9)


def test_ramp_equals_its_formula_and_relaxes_the_last_block() -> None:
    ctx = make_context()
    beta = [0.6 - 0.04 * (BLOCKS - 1) / 2 + 0.04 * i for i in range(BLOCKS)]
    assert block_rates(build_allocator("ramp:beta=0.04").rates(ctx, 0.6)) == pytest.approx(beta)
    assert block_rates(build_allocator("ramp:half_width=0.08").rates(ctx, 0.6)) == pytest.approx(
        beta
    )
    relaxed = block_rates(build_allocator("ramp:beta=0.04,relax_last=0.75").rates(ctx, 0.6))
    assert relaxed[:-1] == pytest.approx(beta[:-1]) and relaxed[-1] == pytest.approx(0.62)


def test_alpha_reproduces_the_published_mapping() -> None:
    from autoprune.allocation.spectral import scaled_rates

    # First, smallest, largest and last of the exponents that the reference ships for LLaMA-7B, and
    # its rates at 70 %, whose level depends on all 32 blocks, but not their ratios.
    exponents, published = [2.62, 2.61, 4.22, 3.54], [0.504, 0.501, 0.930, 0.748]
    rates = scaled_rates(exponents, [1, 1, 1, 1], 0.3, 0.7)
    assert [rate * 0.501 / rates[1] for rate in rates] == pytest.approx(published, abs=1.5e-3)
    assert scaled_rates(exponents, [1, 2, 3, 4], 0.0, 0.7) == pytest.approx([0.7] * 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sdsa:strengh=1", "no parameter 'strengh'; allowed: strength, temperature, statistic"),
        ("uniform:x=1", "no parameter 'x'; allowed: none"),
        ("sdsa:strength=much", "use a number"),
        ("sdsa:strength=nan", "use a number"),
        ("sdsa:strength=2", "between 0 and 1"),
        ("sdsa:temperature=0", "above 0"),
        ("sdsa:level=layer", "use block or projection"),
        ("sdsa:strength", "write strength=VALUE"),
        ("alpha:bug_compatible=maybe", "true or false"),
        ("given:0.5/x", "write given:"),
        ("given:0.5/1.5", "outside 0"),
    ],
)
def test_wrong_texts_say_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_allocator(text)


def test_unknown_allocator_suggests() -> None:
    with pytest.raises(UnknownNameError, match="did you mean sdsa"):
        build_allocator("sdas")


def test_given_rates_of_wrong_length_name_both_lengths() -> None:
    with pytest.raises(UsageError, match=r"2 rates.*5 \(one per block\) or 20"):
        build_allocator("given:0.5/0.6").rates(make_context(), 0.55)


def test_statistics_are_asked_for_only_when_needed() -> None:
    ctx = make_context()
    bare = ModelContext(ctx.layers)
    assert build_allocator("sdsa").needs == frozenset()
    allocate(build_allocator("alpha"), bare, 0.6)
    with pytest.raises(UsageError, match="calibrate first"):
        allocate(build_allocator("owl"), bare, 0.6)


def test_formula_holds_ramp_and_sdsa_as_special_cases() -> None:
    ctx = make_context()
    for formula, known in [("0.1*depth", "ramp"), ("-0.15*soft(tail)", "sdsa")]:
        own = build_allocator(f"formula:{formula}").rates(ctx, 0.6)
        assert own == pytest.approx(build_allocator(known).rates(ctx, 0.6), abs=1e-12)


def test_formula_tells_matrices_of_one_block_apart_and_meets_the_budget() -> None:
    ctx = make_context()
    allocator = build_allocator("formula: 0.1*depth + .05*size -(0.02 * outliers- 0.01*last)")
    assert allocator.text == "formula:0.1 * depth + 0.05 * size - (0.02 * outliers - 0.01 * last)"
    assert build_allocator(allocator.text) == allocator
    assert allocator.needs == {"x_norm"}
    rates = allocate(allocator, ctx, 0.6)
    assert rates["b.0.k"] < rates["b.0.up"]
    total = sum(unit.numel for unit in ctx.units)
    share = sum(unit.numel * rates[unit.name] for unit in ctx.units) / total
    assert share == pytest.approx(0.6, abs=1e-12)


def test_formula_has_words_for_kinds_of_matrices() -> None:
    names = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.experts.down_proj[1]")
    layers = [Matrix(f"b.{n}.{name}", n, torch.ones(4, 4)) for n in range(2) for name in names]
    ctx = ModelContext(layers, Norms(layers))
    text = "formula:0.1 * down_proj - 0.05 * attention - 0.02 * q_proj + 0.5 * gate_proj"
    rates = build_allocator(text).rates(ctx, 0.6)
    found = [rates[f"b.1.{name}"] for name in names]
    assert found == pytest.approx([0.53, 0.55, 0.6, 0.7], abs=1e-12)
    relative = relative_to_kind({"b.down_proj[0]": 1.0, "b.down_proj[1]": 3.0, "b.up_proj": 5.0})
    assert list(relative.values()) == [0.5, 1.5, 1.0]


def test_middle_is_the_curve_found_at_any_number_of_blocks() -> None:
    layers = [Matrix(f"b.{n}.up", n, torch.ones(20, 20)) for n in range(30)]
    deep = ModelContext(layers, Norms(layers))
    found = build_allocator("given:" + "/".join(map(str, FOUND)))
    for target in (0.1, 0.2, 0.3):
        rates = allocate(build_allocator("middle"), deep, target)
        assert rates == pytest.approx(allocate(found, deep, target), abs=1e-12)
    # Blocks 0, 7.25, 14.5, 21.75 and 29 of the thirty.
    five = [0.0, 0.2275, 0.34, 0.2275, 0.0]
    assert curve(5) == pytest.approx(five, abs=1e-12) and curve(1) == [0.34]
    halved = block_rates(build_allocator("middle:strength=0.5").rates(make_context(), 0.4))
    wanted = [0.4 + 0.5 * (share - math.fsum(five) / 5) for share in five]
    assert halved == pytest.approx(wanted, abs=1e-12)
    with pytest.raises(UsageError, match="strength"):
        build_allocator("middle:strength=3")


@pytest.mark.parametrize(
    "text",
    [
        *("depth / 2", "weight", "__import__('os')", "depth ** 2", "0.1 if depth else 0", "True"),
        *(
            "1j",
            "abs(depth, 1)",
            "(" * 600 + "1" + ")" * 600,
            "depth[0]",
            "1e300 * depth",
            "0.1 * depth + " + "1" * 310,
            "x" * 3000,
        ),
    ],
)
def test_formula_refuses_everything_else(text: str) -> None:
    with pytest.raises(UsageError, match="is not understood"):
        build_allocator(f"formula:{text}")


def test_a_long_formula_reads_back_and_a_longer_one_is_refused() -> None:
    shortest = "+".join(["-9"] * 33)
    text = build_allocator(f"formula:{shortest}").text
    assert len(text) > len(shortest) and build_allocator(text).text == text
    longer = with_numbers(text.partition(":")[2], [0.000123456] * 33)
    assert build_allocator(f"formula:{longer}").text == f"formula:{longer}"
    with pytest.raises(UsageError, match="has 101 numbers, names, signs and calls; at most 100"):
        build_allocator("formula:" + "+".join(["1"] * 51))


def test_the_grid_of_auto_is_canonical_and_starts_with_uniform() -> None:
    grid = auto_grid("auto")
    assert grid is not None and grid[0] == "uniform" and len(grid) == len(set(grid)) > 10
    assert [build_allocator(text).text for text in grid] == list(grid)
    # All that the manual names and no other; spectra are left out for what they cost.
    families = {text.partition(":")[0] for text in grid}
    assert families == {"uniform", "ramp", "sdsa", "owl", "dlp"}
    assert auto_grid("auto:owl+ramp:half_width=0.1+uniform") == ("uniform", "owl", "ramp")
    assert auto_grid("ramp") is None
    with pytest.raises(UnknownNameError):
        auto_grid("auto:nosuch")
    formula = "formula:0.1 * depth + 0.05 * first"
    assert auto_grid("auto:formula:(0.1*depth + 0.05*first)+ramp") == ("uniform", formula, "ramp")
    with pytest.raises(UsageError, match=r"'0.05\*first'; .* in auto:formula:\(0.1\*depth"):
        auto_grid("auto:formula:0.1*depth + 0.05*first")
