"""Recovery of the whole model: towards the dense model's predictions, on masks that stay."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import autoprune
from autoprune import Bench
from autoprune.comparison.shared import PoolDraws
from autoprune.errors import UsageError
from autoprune.evaluation.kl import dense_predictions, kl_to_dense
from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.progress import Progress
from autoprune.pruning import (
    MetricScore,
    PruneOutcome,
    PruningPlan,
    masters_of,
    movable,
    products,
    prune,
    recover,
    teach,
)
from autoprune.pruning.plan import Precision
from autoprune.repair import HELD_OUT, ModelRecovery, Repair
from autoprune.streaming import StreamJob
from tests.support.tiny_models import VOCABULARY, random_windows, tiny_model
from tests.support.tiny_subject import save_subject, tiny_subject

USED, FRESH = random_windows(3, 24), random_windows(60, 24, seed=5)
HOW = "recover:steps=12,rate=0.01"


def pruned(
    model: PreTrainedModel,
    repair: str = HOW,
    fresh: Tensor | None = FRESH,
    precision: Precision = "auto",
    **extra: object,
) -> PruneOutcome:
    plan = PruningPlan.build(0.5, repair=repair, precision=precision)
    score = MetricScore(build_metric("magnitude"))
    return prune(model, score, plan, windows=USED, fresh=fresh, **extra)  # type: ignore[arg-type]


def state(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_comes_nearer_on_unseen_text_with_exactly_the_same_zeros(
    family: str, dtype: torch.dtype
) -> None:
    unseen = dense_predictions(tiny_model(family), random_windows(8, 24, seed=9), top=96)
    bare, model = tiny_model(family).to(dtype), tiny_model(family).to(dtype)
    # In bfloat16 only where the weights are, whatever the processor is fast with.
    precision: Precision = "float32" if dtype == torch.float32 else "auto"
    keep = pruned(bare, "none").keep
    outcome = pruned(model, precision=precision)
    plain, recovered = (sum(kl_to_dense(one, unseen)) for one in (bare, model))
    assert recovered < 0.995 * plain
    layers = prunable_linears(model)
    for layer in layers:
        assert torch.equal(outcome.keep[layer.name], keep[layer.name])
        # Bit by bit: no negative zero either.
        zeros = layer.read()[~keep[layer.name]].contiguous()
        assert not zeros.view(torch.uint8).any()
    names = {layer.parameter for layer in layers}
    changed = moved(state(bare), state(model))
    assert all(name in names or model.get_parameter(name).ndim == 1 for name in changed)
    assert changed & names and changed - names
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_norms_and_biases_but_not_those_of_the_head() -> None:
    bare, model = tiny_model("gpt2"), tiny_model("gpt2")
    for one in (bare, model):
        # As in phi and codegen.
        one.lm_head.bias = torch.nn.Parameter(torch.full((VOCABULARY,), 0.1))
    pruned(bare, "none")
    pruned(model)
    changed = moved(state(bare), state(model))
    small = {name for name, p in model.named_parameters() if p.ndim == 1} - {"lm_head.bias"}
    assert small and changed - {x.parameter for x in prunable_linears(model)} == small


def test_equal_seeds_give_equal_bits_and_only_later_rounds_are_shuffled() -> None:
    def made(seed: int, repair: str, fresh: Tensor) -> Tensor:
        model = tiny_model("llama")
        plan = PruningPlan.build(0.5, repair=repair, seed=seed)
        prune(model, MetricScore(build_metric("magnitude")), plan, windows=USED, fresh=fresh)
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    once, often = (HOW, FRESH), (HOW, FRESH[:10])
    assert torch.equal(made(0, *once), made(0, *once))
    assert torch.equal(made(0, *once), made(1, *once))
    assert torch.equal(made(0, *often), made(0, *often))
    assert not torch.equal(made(0, *often), made(1, *often))


def test_steps_that_bring_nothing_leave_every_bit_and_end_early() -> None:
    model, seen = tiny_model("llama"), list[Progress]()
    # Nothing is nearer to a model than itself.
    plan = PruningPlan.build(0.0, repair="recover:steps=60,batch=1")
    score = MetricScore(build_metric("magnitude"))
    outcome = prune(model, score, plan, windows=USED, fresh=FRESH, report=seen.append)
    assert not moved(state(tiny_model("llama")), state(model))
    assert "no step came nearer" in outcome.notes[-1]
    steps = [p for p in seen if p.stage == "recovery"]
    assert [p.done for p in steps] == list(range(1, 31)) and steps[0].total == 60


def test_an_interruption_leaves_masks_and_flags() -> None:
    model = tiny_model("llama")

    def stop(progress: Progress) -> None:
        if progress.stage == "recovery" and progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruned(model, report=stop)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert sum(int((x.read() == 0).sum()) for x in prunable_linears(model)) == sum(
        x.numel // 2 for x in prunable_linears(model)
    )


def test_products_are_rounded_only_where_the_machine_has_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for has, precision in ((False, "auto"), (True, "float32"), (True, "auto")):
        monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda has=has: has)
        model = tiny_model("llama")
        plan = PruningPlan.build(0.5, repair=HOW, precision=precision)  # type: ignore[arg-type]
        prune(model, MetricScore(build_metric("magnitude")), plan, windows=USED, fresh=FRESH)
        found.append(prunable_linears(model)[0].read().clone())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])


def test_a_scheme_may_recover_a_smaller_model_by_itself() -> None:
    model, how = tiny_model("llama"), ModelRecovery(steps=20, rate=0.01)
    teacher = teach(model, how, FRESH, USED)
    assert len(teacher.train.tokens) == 40 and teacher.held_out is not None
    assert torch.equal(teacher.held_out.tokens, FRESH[:HELD_OUT])
    smaller = tiny_model("llama")
    del smaller.model.layers[1]
    unseen = dense_predictions(model, random_windows(8, 24, seed=9))
    before = sum(kl_to_dense(smaller, unseen))
    matrices = masters_of(prunable_linears(smaller))
    notes = recover(smaller, teacher, movable(smaller, matrices), how)
    assert sum(kl_to_dense(smaller, unseen)) < before
    assert "held-out windows; weights of step" in notes[0]


@pytest.mark.parametrize(
    ("fresh", "shown"),
    [
        (FRESH[:10], "there are 10; it learned from 10, 3 of which statistics had read"),
        (None, "there are 0; it learned from 3, 3 of which statistics had read"),
    ],
)
def test_a_short_text_is_used_as_far_as_it_goes_and_noted(fresh: Tensor | None, shown: str) -> None:
    outcome = pruned(tiny_model("llama"), fresh=fresh)
    assert "28 fresh calibration windows are wanted" in outcome.notes[0]
    assert shown in outcome.notes[0] and len(outcome.notes) == 2


@pytest.mark.parametrize(
    ("fresh", "shown"),
    [
        (0, "12, 12 of which statistics had read; they had also read 4 of the 4 windows"),
        (2, "14, 14 of which statistics had read; they had also read 2 of the 4 windows"),
        (6, "18, 16 of which statistics had read"),
    ],
)
def test_a_note_says_which_windows_had_been_read(fresh: int, shown: str) -> None:
    windows = random_windows(32, 24, seed=5)
    teacher = teach(tiny_model("llama"), ModelRecovery(), windows[:fresh], windows[16:])
    (note,) = teacher.notes
    assert note.partition("learned from ")[2].startswith(shown)
    assert ("judge it" in note) == (fresh < HELD_OUT)


def test_the_rate_falls_by_a_cosine() -> None:
    usual = ModelRecovery(steps=4)
    assert [usual.rate_at(n) / usual.rate for n in range(4)] == pytest.approx(
        [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]
    )


def test_texts_round_trip_and_it_stands_last() -> None:
    for text in ("recover", "ebft+recover", "walk:mrp+recover:steps=9", "dsnot+mrp+recover"):
        assert Repair.parse(text).text == text
    assert Repair.parse("none+recover").text == "recover" and not Repair.parse("recover").walks
    assert Repair.parse("recover:steps=9").fresh_windows == 18 + HELD_OUT
    for text in ("recover+ebft", "walk:recover", "recover+mrp", "mrp+recover+ebft"):
        with pytest.raises(UsageError, match="stands last, as in ebft\\+recover"):
            Repair.parse(text)
    with pytest.raises(UsageError, match="twice"):
        Repair.parse("recover+recover")
    with pytest.raises(UsageError, match="steps must be 1 or above"):
        Repair.parse("recover:steps=0")


def test_what_cannot_be_recovered_is_refused(tmp_path: Path) -> None:
    plan = PruningPlan.build(0.5, repair="mrp+recover", scoring="sequential")
    with pytest.raises(
        UsageError, match="trains all blocks at once by the whole model's gradients"
    ):
        StreamJob(tmp_path, USED, build_metric("wanda"), plan).open()
    with pytest.raises(UsageError, match="trains the model on calibration text and none is given"):
        prune(
            tiny_model("llama"), MetricScore(build_metric("magnitude")),
            PruningPlan.build(0.5, repair="recover"),
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    folder, text = save_subject(tiny_subject(), tmp_path / "tiny"), tmp_path / "text.txt"
    rng = random.Random(0)
    letters = ["".join(rng.choices("abcdefghij ", k=300)) for _ in range(60)]
    text.write_text("\n\n".join(letters), encoding="utf-8")
    return folder, text


RECIPE = "wanda+recover:steps=10,rate=0.003"


@pytest.mark.parametrize("kind", [lambda: None, lambda: PoolDraws(2, 0)])
def test_a_bench_takes_fresh_windows_and_the_recipe_off_again(
    place: tuple[Path, Path], kind: Callable[[], PoolDraws | None]
) -> None:
    sizes = {"calibration_windows": 2, "selection_windows": 3, "sealed_windows": 2}
    with Bench.open(place[0], corpus=place[1], seqlen=32, **sizes) as bench:
        bench.calibration = kind() or bench.calibration
        for draw in (0, 1):
            fresh = bench.fresh_windows(9, draw)
            assert fresh is not None and fresh.shape == (9, 32)
            rows = {tuple(row) for row in fresh.tolist()}
            others = torch.cat([bench.drawn_windows(draw), bench.part("selection")])
            others = torch.cat([others, bench.part("sealed")])
            assert len(rows) == 9 and not rows & {tuple(row) for row in others.tolist()}
        assert bench.fresh_windows(0) is None
        before = state(bench.loaded.model)
        bare, first = bench.measure("wanda", 0.9), bench.measure(RECIPE, 0.9, kl=True)
        assert not moved(before, state(bench.loaded.model))
        again = bench.measure(RECIPE, 0.9, kl=True)
        assert again.nll == first.nll != bare.nll and again.kl == first.kl
        with bench.pruned(RECIPE + "+sequential", 0.9):
            assert "model.norm.weight" in moved(before, state(bench.loaded.model))
        assert not moved(before, state(bench.loaded.model))


def test_the_front_door_saves_what_was_recovered(place: tuple[Path, Path], tmp_path: Path) -> None:
    sizes = {"calibration_windows": 2, "seqlen": 32, "corpus": place[1]}
    made = autoprune.prune(place[0], RECIPE, 0.5, out=tmp_path / "out", **sizes)  # type: ignore[arg-type]
    assert made.saved is not None and made.saved.zeros.zeros == made.zeros
    assert "held-out windows" in made.notes[-1]
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not moved(state(made.model.model), state(opened))
