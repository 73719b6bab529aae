"""Methods as text: one canonical spelling, clear words for what is wrong."""

import pytest

from autoprune.comparison.measuring import reads_text
from autoprune.comparison.methods import (
    PEER,
    Method,
    crossed,
    on_texts,
    parse_method,
    parse_methods,
)
from autoprune.comparison.plan import Target, cells_in_order, parse_targets
from autoprune.comparison.presets import PRESETS
from autoprune.comparison.tuning import WIDTHS, best_variant, variants
from autoprune.errors import UnknownNameError, UsageError
from autoprune.spelling import split_list, split_outside

HALF = Target(0.5)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("wanda", "wanda"),
        ("wanda+row+uniform+none+dense", "wanda"),
        ("mrp", None),
        ("wanda+mrp+ramp", "wanda+ramp+mrp"),
        ("wanda+ramp:half_width=0.1", "wanda+ramp"),
        ("wanda + sdsa:strength=0.2,level=projection", "wanda+sdsa:strength=0.2,level=projection"),
        ("ria:exponent=0.5", "ria"),
        ("ria:exponent=0.25+row", "ria:exponent=0.25+row"),
        ("wanda+dsnot+mrp+sequential", "wanda+dsnot+mrp+sequential"),
        ("sparsegpt", "sparsegpt"),
        ("sparsegpt+none", "sparsegpt+none"),
        ("sparsegpt+sparsegpt:select=own", "sparsegpt"),
        ("expr:abs(W)*x_norm+ramp", "expr:(abs(W) * x_norm)+ramp"),
        ("wanda+formula:(0.1*depth + first)", "wanda+formula:(0.1 * depth + first)"),
        ("wanda+formula:(0.1*(depth + first))", "wanda+formula:0.1 * (depth + first)"),
        ("llm-compressor:wanda", "llm-compressor:wanda"),
        ("depth:criterion=perplexity + width:score=flap", "depth+width:score=flap"),
        ("depth + recover:steps=50", "depth+recover"),
        ("width + ebft:epochs=4 + recover:steps=50", "width+ebft+recover"),
    ],
)
def test_every_spelling_has_one_name_that_reads_back(text: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(UnknownNameError):
            parse_method(text)
        return
    method = parse_method(text)
    assert method.name == name
    assert parse_method(method.name) == method
    assert Method.from_json(method.to_json()) == method


def test_sparsegpt_means_the_published_method() -> None:
    assert parse_method("sparsegpt").repair == "sparsegpt:select=own"
    assert parse_method("sparsegpt").group == "matrix"
    assert parse_method("sparsegpt+none").repair == "none"
    assert parse_method("wanda+sparsegpt").repair == "sparsegpt"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wandaa", "did you mean wanda"),
        ("wanda+rampp", "did you mean ramp"),
        ("wanda+ramp+sdsa", "names allocation 2 times"),
        ("wanda+row+matrix", "names group 2 times"),
        ("wanda+ramp:half_width=3", "between 0 and 1"),
        ("wanda+ramp:width=3", "no parameter 'width'"),
        ("wanda+row:x=1", "row takes no parameters"),
        ("wanda+sequential:foo=1", "sequential takes no parameters"),
        ("program:wanda+dense", "leave dense out"),
        ("+ramp", "has no metric"),
        ("mine.py", "only the sandbox may run"),
        ("llm-compressor:ria", "unknown method of llm-compressor"),
        ("llm-compressor:wanda+mrp", "takes no further parts"),
    ],
)
def test_a_wrong_method_is_refused_with_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_method(text)


def test_lists_keep_parameters_and_formulas_together() -> None:
    text = "wanda+sdsa:strength=0.2,level=block, ria ,expr:(abs(W) * x_norm + 1),wanda"
    assert split_list(text) == [
        "wanda+sdsa:strength=0.2,level=block",
        "ria",
        "expr:(abs(W) * x_norm + 1)",
        "wanda",
    ]
    assert split_outside("a+(b+c)+d", "+") == ["a", "(b+c)", "d"]
    assert [m.name for m in parse_methods("wanda,ria,wanda+uniform")] == ["wanda", "ria"]
    with pytest.raises(UsageError, match="no method to compare"):
        parse_methods(" , ")


def test_a_cross_product_has_every_combination_once() -> None:
    texts = crossed(["wanda", "ria"], ["uniform", "ramp"], ["none", "mrp"])
    assert len(parse_methods(texts)) == 8
    assert [m.name for m in parse_methods(crossed(["sparsegpt"], [], []))] == ["sparsegpt"]


def test_the_paper_holds_the_table_of_the_results_the_best_repair_and_controls() -> None:
    shown = "magnitude wanda ria wanda+owl wanda+alpha wanda+dlp wanda+sdsa wanda+ramp wanda+dsnot"
    shown += " sparsegpt wanda+mrp wanda+ramp+mrp wanda+ramp+walk:mrp wanda+sequential"
    wanted = {*shown.split(), "sparsegpt+sequential", "wanda+ramp+ebft", "wanda+ebft"}
    wanted.add("wanda+sparsegpt:select=own+ebft")
    paper, full = (set(PRESETS[name].methods) for name in ("paper", "full"))
    assert wanted <= paper < full
    assert {"wanda+alps", "wanda+sparseswaps"} <= full


def test_the_seed_counts_where_something_is_drawn_with_it() -> None:
    drawn = ("random", "wanda+ebft", "wanda+ramp+mrp+ebft")
    drawn += ("width:score=random,rates=ramp",)
    assert all(parse_method(text).stochastic for text in drawn)
    assert parse_method("depth+ebft").tunes and not parse_method("depth").tunes
    assert not any(parse_method(text).stochastic for text in ("wanda+ramp", "wanda+walk:mrp"))
    assert not parse_method("width:score=magnitude,rates=ramp").stochastic


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_readable(name: str) -> None:
    preset = PRESETS[name]
    methods = parse_methods(preset.methods)
    assert [method.name for method in methods] == list(preset.methods)
    assert parse_targets(preset.sparsities, preset.patterns)


def test_budgets_are_read_and_refused() -> None:
    labels = [target.label for target in parse_targets([0.5, 0.55], ["2:4", "4:8", "2:4"])]
    assert labels == ["50 %", "55 %", "2:4", "4:8"]
    for sparsities, patterns in (([1.5], []), ([], ["4:2"]), ([], [])):
        with pytest.raises(UsageError):
            parse_targets(sparsities, patterns)


def test_cells_of_one_draw_stand_together() -> None:
    methods, targets = parse_methods("wanda,ria"), parse_targets([0.5], ["2:4"])
    cells = list(cells_in_order(methods, targets, 2))
    assert [cell.seed for cell in cells] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(set(cells)) == 8


@pytest.mark.parametrize(
    "text", ["wanda+ramp", "wanda+sdsa+mrp", "ria+owl", "wanda+dlp", "wanda+alpha"]
)
def test_every_open_strength_gets_the_same_trials_its_default_first(text: str) -> None:
    own = parse_method(text)
    tries = variants(own, HALF, 4)
    assert tries[0] == own and len(set(tries)) == 4
    assert variants(own, HALF, 1) == (own,)
    # A strength at the allocator's default is not written.
    strengths = sorted(float(one.allocation.partition("=")[2] or "0.15") for one in tries)
    scale = 2 if "alpha" in text else 1
    assert strengths[0] == 0.05 * scale and strengths[-1] in (0.15 * scale, 0.21 * scale)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("wanda", HALF),
        ("wanda+ramp:half_width=0.2", HALF),
        ("wanda+ramp:beta=0.01", HALF),
        ("wanda+ramp", Target(0.5, "2:4")),
        ("llm-compressor:wanda", HALF),
    ],
)
def test_nothing_is_tuned_where_nothing_is_open(text: str, target: Target) -> None:
    assert variants(parse_method(text), target, len(WIDTHS)) == ()


def test_the_lowest_finite_loss_wins() -> None:
    tries = variants(parse_method("wanda+ramp"), HALF, 3)
    own = parse_method("wanda+ramp")
    assert best_variant(tries, [3.0, None, 2.0], own) == tries[2]
    assert best_variant(tries, [2.0, 2.0, float("inf")], own) == tries[0]
    assert best_variant(tries, [None, float("inf"), None], own) == own


def test_a_method_is_read_back_with_its_calibration_text_and_crossed_with_all() -> None:
    for text in ("wanda@own", "wanda+sdsa:strength=0.2@own", f"{PEER}:wanda@own"):
        assert parse_method(text).name == text
        assert parse_method(text) != parse_method(text.removesuffix("@own"))
    assert "calibration" not in parse_method("wanda").to_json()
    assert Method.from_json(parse_method("ria@own").to_json()).name == "ria@own"
    asked = parse_methods("ria@b,magnitude,wanda,magnitude@a")
    assert on_texts(asked[1:3], [], reads_text) == asked[1:3]
    found = [method.name for method in on_texts(asked, ["a", "b"], reads_text)]
    assert found == ["magnitude", "wanda@a", "ria@b", "wanda@b"]
    # Block tuning reads text, whatever chose the masks.
    tuned = parse_methods("magnitude+ebft,random+ebft")
    assert all(reads_text(method) for method in tuned)
    assert len(on_texts(tuned, ["a", "b"], reads_text)) == 4
    with pytest.raises(UsageError, match="add --calibration-text b=REF"):
        on_texts(asked, ["a"], reads_text)
    # The statistics of a text's draw are collected once for all of its budgets.
    order = cells_in_order(on_texts(asked, ["a", "b"], reads_text), [Target(0.5), Target(0.6)], 1)
    texts = [cell.method.calibration for cell in order if cell.method]
    assert texts == sorted(texts)
