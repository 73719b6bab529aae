"""Streamed statistics equal those of hooks on the whole model, in every family."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune.errors import AutopruneError, InfiniteGradientError, UnknownNameError
from autoprune.models.capture import BlockStream
from autoprune.models.structure import prunable_linears
from autoprune.pruning.masters import Master
from autoprune.pruning.tuning import _slope
from autoprune.schemes.taylor import taylor_products
from autoprune.statistics.recorder import BlockRecorder
from autoprune.statistics.statistics import ALL, BASIC, collect_statistics
from tests.support.tiny_models import FAMILIES, FUSED_EXPERTS, random_windows, tiny_model
from tests.support.whole_model import whole_model_inputs


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_hooks_on_the_whole_model(family: str) -> None:
    model, windows = tiny_model(family), random_windows(5, 12)
    inputs = whole_model_inputs(model, windows)
    statistics = collect_statistics(
        model, windows, needs=BASIC | {"gram", "hessian_diag"}, batch_tokens=24
    )
    assert statistics.tokens == 60
    for linear in prunable_linears(model):
        found = statistics.of(linear.name)
        x = inputs.get(linear.name, torch.zeros(0, linear.shape[1])).double()
        if len(x) == 0:
            assert all(torch.count_nonzero(value) == 0 for value in found.values())
            continue
        gram = x.T @ x / len(x)
        damped = gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram))
        expected = {
            "x_norm": x.square().mean(0).sqrt(),
            "x_mean": x.mean(0),
            "x_var": x.var(0, correction=0),
            "x_max": x.abs().amax(0),
            "gram": gram,
            "hessian_diag": 1 / torch.linalg.inv(damped).diagonal(),
        }
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(
                found[name],
                value.float(),
                rtol=2e-3,
                atol=2e-4 * float(value.abs().max()),
                msg=lambda text, name=name, linear=linear: f"{linear.name} {name}: {text}",
            )


def test_matrices_with_one_input_share_its_tensors() -> None:
    model = tiny_model("llama")
    statistics = collect_statistics(model, random_windows())
    at = "model.layers.1"
    norm = {
        name: id(statistics.of(f"{at}.{name}")["x_norm"])
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    }
    q, k, v, o = norm.values()
    assert q == k == v != o
    gate, up = (id(statistics.of(f"{at}.mlp.{n}_proj")["x_norm"]) for n in ("gate", "up"))
    assert gate == up


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gpt_oss"])
def test_gradient_norm_equals_plain_autograd(family: str) -> None:
    model, windows = tiny_model(family), random_windows(3, 10)
    model.get_input_embeddings().weight.requires_grad_(False)
    statistics = collect_statistics(model, windows, needs={"grad_norm"})
    linears = prunable_linears(model)
    squares = {x.name: torch.zeros(x.shape) for x in linears}
    for window in windows:
        model.zero_grad()
        model(input_ids=window[None], labels=window[None], use_cache=False).loss.backward()
        for x in linears:
            squares[x.name] += x.orient(getattr(x.owner, x.attribute).grad).square()
    for x in linears:
        expected = (squares[x.name] / 3).sqrt()
        found = statistics.of(x.name)["grad_norm"]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert not model.get_input_embeddings().weight.requires_grad
    assert linears[0].owner.weight.requires_grad


def test_gradients_of_float16_neither_vanish_nor_overflow_unseen() -> None:
    model, windows = tiny_model("llama", num_hidden_layers=1).half(), random_windows(2, 10)
    ends = (model.get_output_embeddings().weight, model.model.norm.weight)
    for weight in ends:
        weight.data.mul_(1e-3)
    exact = tiny_model("llama", num_hidden_layers=1)
    exact.load_state_dict(model.state_dict())
    found, wanted = (
        collect_statistics(one, windows, needs={"grad_norm"}) for one in (model, exact)
    )
    for linear in prunable_linears(model):
        norms, true = (of.of(linear.name)["grad_norm"] for of in (found, wanted))
        assert float((norms - true).norm()) < 0.01 * float(true.norm())
    for weight, factor in zip(ends, (2e7, 1e3), strict=True):
        weight.data.mul_(factor)
    with pytest.raises(InfiniteGradientError, match="load the model in float32 or bfloat16"):
        collect_statistics(model, windows, needs={"grad_norm"})


def test_first_order_importance_sums_bfloat16_gradients_in_float32() -> None:
    model, windows = tiny_model("llama", num_hidden_layers=1).bfloat16(), random_windows(40, 10)
    name, weight = next((n, p) for n, p in model.named_parameters() if "down_proj" in n)
    total = torch.zeros_like(weight, dtype=torch.float32)
    for window in windows:
        with torch.enable_grad():
            loss = model(input_ids=window[None], labels=window[None]).loss
            (gradient,) = torch.autograd.grad(loss, weight)
        total += gradient.float()
    found = taylor_products(model, windows)[name]
    assert found.dtype == torch.float32
    assert torch.allclose(found, (weight.detach() * total).abs(), rtol=2e-2, atol=1e-6)


def test_first_order_importance_and_tuning_in_float16_do_not_vanish() -> None:
    model, windows = tiny_model("llama", num_hidden_layers=1).half(), random_windows(2, 10)
    for weight in (model.get_output_embeddings().weight, model.model.norm.weight):
        weight.data.mul_(1e-3)
    exact = tiny_model("llama", num_hidden_layers=1)
    exact.load_state_dict(model.state_dict())
    flags = [p.requires_grad for p in model.parameters()]
    found, wanted = (taylor_products(one, windows) for one in (model, exact))
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    for name, true in wanted.items():
        assert float((found[name] - true).norm()) <= 0.02 * float(true.norm()), name
    for weight, factor in zip(
        (model.get_output_embeddings().weight, model.model.norm.weight), (2e7, 1e3), strict=True
    ):
        weight.data.mul_(factor)
    with pytest.raises(InfiniteGradientError, match="load the model in float32 or bfloat16"):
        taylor_products(model, windows)
    # Hidden states of size 1e3 give block tuning gradients below float16's smallest number.
    weight = torch.nn.Parameter(torch.eye(8, dtype=torch.float16))
    goal = torch.full((4, 4096, 8), 1e3, dtype=torch.float16)
    stream: Any = SimpleNamespace(output=lambda _: (goal * 1.01) @ weight)
    # As block tuning does, outside of which nothing records gradients.
    with torch.no_grad():
        (slope,) = _slope(stream, [Master.of(weight)], [goal], 0, nullcontext)
    assert slope is not None and slope.dtype == torch.float32 and bool((slope != 0).all())


def test_gradients_are_freed_and_flags_restored() -> None:
    model = tiny_model("llama")
    collect_statistics(model, random_windows(), needs=ALL)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("family", ["llama", "bloom", "mixtral"])
def test_padding_reaches_nothing(family: str) -> None:
    model, windows = tiny_model(family), random_windows(4, 12)
    mask = torch.ones_like(windows, dtype=torch.bool)
    mask[1, 8:] = False
    mask[2, :4] = False
    padded = torch.where(mask, windows, 0)
    found = collect_statistics(model, padded, mask=mask)
    assert found.tokens == 40
    parts = [windows[:1], windows[1:2, :8], windows[2:3, 4:], windows[3:]]
    inputs: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, x in whole_model_inputs(model, part).items():
            inputs.setdefault(name, []).append(x)
    for name, collected in inputs.items():
        expected = torch.cat(collected).double().square().mean(0).sqrt().float()
        torch.testing.assert_close(found.of(name)["x_norm"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 24, 1000])
def test_batch_size_does_not_matter(batch_tokens: int) -> None:
    model, windows = tiny_model("qwen2"), random_windows(5, 12)
    reference = collect_statistics(model, windows, needs=BASIC | {"gram"})
    found = collect_statistics(model, windows, needs=BASIC | {"gram"}, batch_tokens=batch_tokens)
    for name, values in reference.layers.items():
        for stat, value in values.items():
            torch.testing.assert_close(found.of(name)[stat], value, rtol=1e-4, atol=1e-4)


def test_a_large_offset_keeps_its_variance() -> None:
    from autoprune.statistics.accumulator import InputAccumulator

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4096, 3, generator=generator) + torch.tensor([0.0, 1000.0, -3000.0])
    accumulator = InputAccumulator(3, BASIC, x.device)
    for part in x.split(512):
        accumulator.add(part)
    expected = x.double().var(0, correction=0).float()
    torch.testing.assert_close(accumulator.result()["x_var"], expected, rtol=1e-3, atol=0)


def test_sums_are_not_rounded_where_products_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from autoprune.statistics.accumulator import InputAccumulator

    rounded: list[bool] = []
    mean_of = InputAccumulator._mean_of

    def watched(accumulator: InputAccumulator, x: Tensor, count: int) -> Tensor:
        rounded.append(torch.is_autocast_enabled(x.device.type))
        return mean_of(accumulator, x, count)

    monkeypatch.setattr(InputAccumulator, "_mean_of", watched)
    accumulator = InputAccumulator(4, BASIC, torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        accumulator.add(torch.ones(2, 3, 4))
        assert torch.is_autocast_enabled("cpu")
    # On a GPU, autocast rounds this sum over tokens.
    assert rounded == [False] and accumulator.tokens == 6


@pytest.mark.parametrize("tokens", [1, 300, 1000])
def test_inputs_larger_than_a_cache_are_seen_to_their_last_row(tokens: int) -> None:
    from autoprune.statistics.accumulator import CACHED, InputAccumulator

    features = CACHED // 256
    x = torch.randn(tokens, features, generator=torch.Generator().manual_seed(0))
    x[-1, 0], x[0, 1] = -50.0, 60.0
    accumulator = InputAccumulator(features, BASIC, x.device)
    accumulator.add(x)
    found, exact = accumulator.result(), x.double()
    assert torch.equal(found["x_max"], x.abs().amax(0))
    torch.testing.assert_close(found["x_norm"], exact.square().mean(0).sqrt().float())
    torch.testing.assert_close(found["x_mean"], exact.mean(0).float())
    torch.testing.assert_close(found["x_var"], exact.var(0, correction=0).float())


def test_the_model_is_left_as_it_was() -> None:
    for family in ("llama", *sorted(FUSED_EXPERTS)):
        model, windows = tiny_model(family), random_windows()
        before = model(input_ids=windows).logits
        collect_statistics(model, windows, needs=BASIC)
        assert torch.equal(model(input_ids=windows).logits, before)
        for module in model.modules():
            assert "forward" not in vars(module)
            assert not module._forward_pre_hooks


def test_bad_requests_are_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(UnknownNameError, match="did you mean x_norm"):
        collect_statistics(model, random_windows(), needs={"xnorm"})
    statistics = collect_statistics(model, random_windows())
    with pytest.raises(UnknownNameError, match="prunable matrix"):
        statistics.of("model.layers.9.mlp.up_proj")
    model.model.embed_tokens.weight.data.fill_(float("inf"))
    with pytest.raises(AutopruneError, match="not a number"):
        collect_statistics(model, random_windows())


@pytest.mark.parametrize("features", [1, 3, 4, 7, 64])
def test_the_gram_matrix_is_whole_and_symmetric(features: int) -> None:
    from autoprune.statistics.accumulator import InputAccumulator

    x = torch.randn(96, features, generator=torch.Generator().manual_seed(features))
    accumulator = InputAccumulator(features, {"gram"}, x.device)
    for part in x.split(40):
        accumulator.add(part)
    gram = accumulator.result()["gram"]
    torch.testing.assert_close(gram, (x.double().T @ x.double() / 96).float())
    assert torch.equal(gram, gram.T)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "qwen3_moe"])
def test_ending_at_the_last_input_loses_nothing(family: str) -> None:
    model = tiny_model(family)
    whole, ended = (BlockStream(model, random_windows(6, 12), batch=2) for _ in range(2))
    linears = prunable_linears(model)
    outputs: list[Tensor] = []
    for index, block in enumerate(whole.blocks):
        members = [x for x in linears if x.block == index]
        with BlockRecorder(block, members, ALL - {"grad_norm"}) as all_of_it:
            whole.run()
        handle = block.register_forward_hook(lambda _, __, out: outputs.append(out))
        with BlockRecorder(block, members, ALL - {"grad_norm"}, inputs_only=True) as inputs_only:
            ended.run()
        handle.remove()
        for name, values in all_of_it.results().items():
            for stat, value in inputs_only.results()[name].items():
                assert torch.equal(value, values[stat]), (name, stat)
        whole.advance()
        ended.advance()
    # Experts are reached as the data has it, so only blocks without them may be cut short.
    assert len(outputs) == (7 if family == "qwen3_moe" else 3)
