"""Streaming from shards to shards gives, bit by bit, what pruning the loaded model gives."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from autoprune.candidate import Scoring
from autoprune.errors import AutopruneError, DamagedFileError, UsageError
from autoprune.masking import budget_zeros
from autoprune.metrics import build_metric
from autoprune.models.saving import count_zeros as count_written
from autoprune.pruning import PruneOutcome, PruningPlan, products
from autoprune.streaming import StreamedModel, StreamJob, estimate, prune_streamed
from autoprune.streaming import prune as prune_module
from autoprune.streaming.job import OpenJob
from autoprune.streaming.shards import Checkpoint, ShardWriter
from autoprune.streaming.skeleton import Skeleton
from tests.support.pruned import block_by_block
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model

BATCH_TOKENS = 48


def saved(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model in several shards."""
    tiny_model(family).to(dtype).save_pretrained(folder, max_shard_size="5kB")
    return folder


def opened(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.use_cache = False
    return model.eval()


def both(
    tmp_path: Path,
    source: Path,
    plan: PruningPlan,
    *,
    metric: str = "wanda",
    scoring: Scoring = "sequential",
) -> tuple[PruneOutcome, StreamedModel, PreTrainedModel]:
    windows = random_windows(6, 24)
    model = opened(source)
    in_memory = block_by_block(
        model,
        windows,
        build_metric(metric),
        plan,
        scoring,
        batch_tokens=BATCH_TOKENS,
    )
    job = StreamJob(
        source,
        windows,
        build_metric(metric),
        replace(plan, scoring=scoring),
        device="cpu",
        batch_tokens=BATCH_TOKENS,
    )
    return in_memory, prune_streamed(job, tmp_path / "out"), model


def tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_equals_pruning_in_memory(family: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "in", family)
    plan = PruningPlan.build(0.55, group="matrix", allocation="owl", repair="mrp")
    in_memory, streamed, model = both(tmp_path, source, plan)
    assert streamed.mask_digest == in_memory.mask_digest
    assert streamed.zeros == in_memory.zeros == budget_zeros(0.55, in_memory.prunable)
    assert streamed.saved.zeros.zeros == streamed.zeros
    assert streamed.saved.zeros == count_written(tmp_path / "out")
    assert dict(streamed.layer_sparsity) == dict(in_memory.layer_sparsity)
    for (name, left), right in zip(
        tensors(model).items(), tensors(opened(tmp_path / "out")).values(), strict=True
    ):
        assert torch.equal(left, right), name


@pytest.mark.parametrize("allocation", ["uniform", "sdsa"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "mixtral", "deepseek_v3", "opt-350m"])
def test_never_more_than_one_block_is_in_memory(
    family: str, allocation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "source", family)
    whole, fill, write = prune_module.write_block, Skeleton.filled_block, []

    def filled(skeleton: Skeleton) -> set[str]:
        """Parameters of blocks that lie in memory; of what lies outside the looked-up rows do."""
        blocks = {name for n in range(3) for name in skeleton.block_parameters(n)}
        return {n for n, p in skeleton.model.named_parameters() if not p.is_meta} & blocks

    @contextmanager
    def filled_block(skeleton: Skeleton, index: int) -> Iterator[None]:
        assert not filled(skeleton)
        with fill(skeleton, index):
            assert filled(skeleton) == set(skeleton.block_parameters(index))
            yield
        assert not filled(skeleton)

    def write_block(opened: OpenJob, index: int, writer: ShardWriter) -> None:
        assert filled(opened.skeleton) == set(opened.skeleton.block_parameters(index))
        write.append(index)
        whole(opened, index, writer)

    monkeypatch.setattr(Skeleton, "filled_block", filled_block)
    monkeypatch.setattr(prune_module, "write_block", write_block)
    plan = PruningPlan.build(0.5, allocation=allocation, scoring="sequential")
    job = StreamJob(source, random_windows(4, 24), build_metric("wanda"), plan, device="cpu")
    prune_streamed(job, tmp_path / "out")
    assert write == list(range(3))


@pytest.mark.parametrize("family", ["llama", "mixtral"])
@pytest.mark.parametrize("allocation", ["uniform", "sdsa", "alpha:fit=mid", "dlp"])
def test_budgets_from_shards_equal_budgets_from_memory(
    family: str, allocation: str, tmp_path: Path
) -> None:
    source = saved(tmp_path / "in", family, torch.bfloat16)
    plan = PruningPlan.build(0.6, allocation=allocation)
    in_memory, streamed, _ = both(tmp_path, source, plan)
    assert streamed.mask_digest == in_memory.mask_digest


def test_steps_inside_a_block_whose_matrices_compete_are_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "gpt2", torch.bfloat16)
    windows, wanda = random_windows(2, 8), build_metric("wanda")
    job = StreamJob(source, windows, wanda, PruningPlan(0.5, "block", scoring="true-sequential"))
    with pytest.raises(UsageError, match="prunes them in steps"):
        prune_streamed(job, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"group": "block"},
        {"pattern": "2:4", "sparsity": None},
        {"repair": "sparsegpt:select=own", "group": "matrix"},
        {"repair": "walk:mrp"},
    ],
)
def test_groups_patterns_and_repairs_stream(options: dict[str, str], tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "gpt2", torch.bfloat16)
    plan = PruningPlan.build(**{"sparsity": 0.5, **options})  # type: ignore[arg-type]
    # Matrices of a block that compete with each other cannot be pruned in steps.
    steps = plan.group != "block"
    in_memory, streamed, _ = both(
        tmp_path, source, plan, scoring="true-sequential" if steps else "sequential"
    )
    assert streamed.mask_digest == in_memory.mask_digest
    assert streamed.notes == in_memory.notes
    walks = any("'walk:mrp' was done as 'mrp'" in note for note in streamed.notes)
    assert walks == (options.get("repair") == "walk:mrp")
    # Repairs are judged as the shards will hold them.
    assert job_of(source).open().job.plan.saved == torch.bfloat16


def test_shards_keep_layout_type_and_every_other_byte(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama", torch.bfloat16)
    (source / "tokenizer.json").write_text('{"kept": true}')
    (source / "README.md").write_text("the dense model's card")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (source / "pytorch_model.bin").write_bytes(b"old weights")
    both(tmp_path, source, PruningPlan.build(0.5))
    before, after = Checkpoint(source), Checkpoint(tmp_path / "out")
    assert len(before.files) > 2
    assert before.entries == after.entries
    for name in before.entries:
        old, new = before.read(name), after.read(name)
        pruned = "_proj" in name
        kept = new != 0 if pruned else torch.ones_like(old, dtype=torch.bool)
        assert torch.equal(old[kept], new[kept]), name
        assert pruned == (not torch.equal(old, new)), name
    for file in before.files:
        length = 8 + int.from_bytes((source / file).read_bytes()[:8], "little")
        head = (source / file).read_bytes()[:length]
        assert (tmp_path / "out" / file).read_bytes()[:length] == head
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"kept": true}'
    templates = tmp_path / "out" / "additional_chat_templates"
    assert (templates / "tools.jinja").read_text() == "{{ tools }}"
    # The dense model's card is not the pruned one's.
    assert not (tmp_path / "out" / "README.md").exists()
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    record = json.loads((tmp_path / "out" / "autoprune.json").read_text())
    assert record["checkpoint"]["zeros"] * 2 == record["checkpoint"]["prunable"]


@pytest.mark.parametrize(
    ("family", "repair", "scoring"),
    [
        ("llama", "ebft:anchor=0,epochs=1", "sequential"),
        ("gpt2", "mrp+ebft:anchor=1,epochs=1,batch=4", "sequential"),
        ("mixtral", "sparsegpt:select=own+ebft:epochs=1,passes=bfloat16", "true-sequential"),
        ("opt-350m", "ebft:epochs=1,passes=bfloat16", "sequential"),
    ],
)
def test_tuned_blocks_are_those_of_pruning_in_memory(
    family: str, repair: str, scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: True)
    plan = PruningPlan.build(0.5, repair=repair)
    in_memory, streamed, model = both(
        tmp_path, saved(tmp_path / "in", family), plan, scoring=scoring
    )
    assert streamed.mask_digest == in_memory.mask_digest
    assert streamed.notes == in_memory.notes
    for (name, left), right in zip(
        tensors(model).items(), tensors(opened(tmp_path / "out")).values(), strict=True
    ):
        assert torch.equal(left, right), name


def job_of(source: Path, metric: str = "wanda", **plan: str) -> StreamJob:
    chosen = {"scoring": "sequential", **plan}
    built = PruningPlan.build(0.5, **chosen)  # type: ignore[arg-type]
    return StreamJob(source, random_windows(2, 8), build_metric(metric), built, device="cpu")


def test_the_record_says_how_and_what_as_that_of_pruning_in_memory(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    for scoring in ("sequential", "true-sequential"):
        job, out = job_of(source, scoring=scoring, repair="walk:mrp"), tmp_path / scoring
        made = prune_streamed(job, out, record={"seed": 0, "notes": ["of the text"]})
        record = json.loads((out / "autoprune.json").read_text())
        assert record.pop("checkpoint")["zeros"] == made.saved.zeros.zeros
        assert made.notes and record == {
            "seed": 0,
            "statistics": scoring,
            "pruned": made.zeros,
            "mask_digest": made.mask_digest,
            "layer_sparsity": dict(made.layer_sparsity),
            "notes": ["of the text", *made.notes],
        }


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="needs gradients"):
        prune_streamed(job_of(source, "gblm"), out)
    with pytest.raises(UsageError, match="trains all blocks at once"):
        prune_streamed(job_of(source, repair="ebft+recover"), out)
    with pytest.raises(UsageError, match="whole model at once"):
        prune_streamed(job_of(source, group="global"), out)
    with pytest.raises(UsageError, match="is the source itself"):
        prune_streamed(job_of(source), source)
    with pytest.raises(UsageError, match="scoring 'sequential' or 'true-sequential'"):
        prune_streamed(job_of(source, scoring="dense"), out)
    coarse = replace(job_of(source), dtype=torch.bfloat16)
    with pytest.raises(UsageError, match="would round"):
        prune_streamed(coarse, out)
    # Finer, and yet small weights of bfloat16 would be lost.
    brain = saved(tmp_path / "brain", "llama", dtype=torch.bfloat16)
    with pytest.raises(UsageError, match="would round"):
        prune_streamed(replace(job_of(brain), dtype=torch.float16), out)
    assert not out.exists()


def test_a_quantised_checkpoint_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="quantised"):
        prune_streamed(job_of(source), tmp_path / "out")


def test_of_two_copies_the_one_that_transformers_opens_is_pruned(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    whole = opened(source)
    with torch.no_grad():
        whole.model.norm.weight.mul_(1.5)
    whole.save_pretrained(tmp_path / "single")
    (tmp_path / "single" / "model.safetensors").rename(source / "model.safetensors")
    prune_streamed(job_of(source), tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors" in written and "model.safetensors.index.json" not in written
    read = opened(tmp_path / "out").model.norm.weight
    assert torch.equal(read, opened(source).model.norm.weight)
    assert torch.equal(read, whole.model.norm.weight)


def test_a_missing_tensor_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    index = source / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    entry = Checkpoint(source).entries["model.layers.2.mlp.down_proj.weight"]
    gone = [name for name, file in places["weight_map"].items() if file == entry.file]
    places["weight_map"] = {n: f for n, f in places["weight_map"].items() if n not in gone}
    index.write_text(json.dumps(places))
    with pytest.raises(UsageError, match=r"holds no tensor for model\.layers\.2"):
        prune_streamed(job_of(source), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("place", ["../stolen.safetensors", "/stolen.safetensors", "..", 7])
def test_a_shard_named_outside_the_folder_is_refused(place: object, tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    index = source / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    first = next(iter(places["weight_map"]))
    (source / places["weight_map"][first]).rename(tmp_path / "stolen.safetensors")
    places["weight_map"][first] = place
    index.write_text(json.dumps(places))
    with pytest.raises(DamagedFileError, match=r"index\.json is not a plain file name"):
        Checkpoint(source)


def test_a_cut_shard_is_damaged(tmp_path: Path) -> None:
    source = saved(tmp_path / "in", "llama")
    shard = source / Checkpoint(source).files[1]
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(DamagedFileError, match="past the end"):
        prune_streamed(job_of(source), tmp_path / "out")
    shard.unlink()
    with pytest.raises(DamagedFileError, match="lacks the shard"):
        prune_streamed(job_of(source), tmp_path / "out")


def test_the_next_block_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(saved(tmp_path / "in", "llama"))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _, start, size, __: asked.append((start, size)), raising=False
    )
    skeleton = Skeleton(checkpoint, torch.float32, torch.device("cpu"))
    for index in range(3):
        asked.clear()
        with skeleton.filled_block(index):
            after = f"model.layers.{index + 1}."
            parts = [e for name, e in checkpoint.entries.items() if name.startswith(after)]
            assert sorted(asked) == sorted((part.start, part.nbytes) for part in parts)
            assert bool(asked) == (index < 2)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match="reads safetensors shards"):
        prune_streamed(job_of(tmp_path / "in"), tmp_path / "out")


def test_a_full_disk_is_seen_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "in", "llama")
    full = SimpleNamespace(total=1000, used=900, free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with pytest.raises(AutopruneError, match="free some space"):
        prune_streamed(job_of(source), tmp_path / "out")


@pytest.mark.parametrize(
    ("allocation", "repair", "places"),
    [
        ("sdsa", "mrp", 2),
        ("owl", "mrp", 2),
        ("uniform", "ebft:anchor=0", 3),
        ("uniform", "mrp+ebft:anchor=1", 4),
        ("uniform", "ebft", 5),
    ],
)
def test_the_estimate_leaves_nothing_and_adds_up(
    allocation: str, repair: str, places: int, tmp_path: Path
) -> None:
    source = saved(tmp_path / "in", "qwen3_moe", torch.bfloat16)
    job = job_of(source, allocation=allocation, repair=repair)
    cost = estimate(job, tmp_path)
    assert cost.memory_bytes == sum(cost.parts.values())
    # Hidden states of 2 x 8 tokens, 16 wide, in float32: of the pruned model and the dense one in
    # two places each, and the goals.
    assert cost.disk_bytes == Checkpoint(source).nbytes + places * 2 * 8 * 16 * 4
    # Gradient, moments, copy, products in bfloat16 and mask take far more than statistics do here.
    assert (cost.parts["workspace"] > 30_000) == ("ebft" in repair)
    assert cost.seconds > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
