"""Exported files load with our loader and with llama.cpp, and compute what the model computes."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader

import autoprune
from autoprune.errors import (
    AutopruneError,
    DamagedFileError,
    PrerequisiteError,
    UnknownNameError,
    UsageError,
)
from autoprune.models import gguf_sources, gguf_types, llama_cpp
from autoprune.models.gguf_family import rope_factors
from autoprune.models.gguf_types import FILE_TYPES, check_bound, dequantise, file_type, quantise
from autoprune.models.gguf_writing import export_gguf
from autoprune.models.reference import resolve
from tests.support.exportable import saved

asks_llama_cpp = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs xllamacpp")


def logits(ref: Path) -> torch.Tensor:
    ids = torch.randint(3, 250, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return autoprune.load(str(ref)).model(input_ids=ids).logits


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("gguf") / "llama")


@asks_llama_cpp
@pytest.mark.parametrize(
    ("family", "cut", "extra"),
    [
        ("llama", "smollm", {"tie_word_embeddings": True, "layers": 1}),
        ("llama", "pieces", {"num_key_value_heads": 1, "attention_bias": True}),
        ("llama", "llama-bpe", {"head_dim": 32}),
        ("mistral", "pieces", {"head_dim": 32, "sliding_window": None}),
        ("qwen2", "qwen2", {"layers": 3}),
        ("qwen3", "qwen2", {}),
    ],
)
def test_float32_comes_back_to_the_bit_and_llama_cpp_computes_the_same(
    tmp_path: Path, family: str, cut: str, extra: dict[str, object]
) -> None:
    folder = saved(tmp_path / "model", family, cut, **extra)
    made = export_gguf(folder, tmp_path / "model.gguf", "f32")
    if "attention_bias" in extra:
        # transformers reads no biases of llama's attention out of a GGUF file; llama.cpp does.
        with pytest.raises(UsageError, match="of which transformers reads 0"):
            logits(made.file)
    else:
        assert torch.equal(logits(folder), logits(made.file))
    found = made.agreement
    assert found is not None and found.cuts
    assert found.tokens == found.same > 4 and found.largest < 0.02
    assert made.tensors == {"F32": sum(made.tensors.values())} and made.worst == 0
    assert "sparsity_config" not in (folder / "config.json").read_text()


@asks_llama_cpp
@pytest.mark.parametrize("size", [8, 32])
def test_attention_that_is_not_as_wide_as_the_hidden_state_is_written_as_deci_for_qwen2(
    tmp_path: Path, size: int
) -> None:
    folder = saved(tmp_path / "model", "qwen2", "qwen2", head_dim=size)
    made = export_gguf(folder, tmp_path / "model.gguf", "f32")
    found = made.agreement
    assert found is not None and found.tokens == found.same > 4 and found.largest < 0.02
    fields = GGUFReader(str(made.file)).fields
    assert fields["general.architecture"].contents() == "deci"


@asks_llama_cpp
@pytest.mark.parametrize(
    ("family", "cut", "extra"),
    [
        ("llama", "smollm", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
        # With seed 0, two tokens are within 0.001 nats, and rounding decides between them.
        ("llama", "pieces", {"attention_bias": True, "mlp_bias": True, "seed": 3}),
        ("qwen2", "qwen2", {}),
    ],
)
def test_blocks_of_different_widths_are_written_as_deci(
    tmp_path: Path, family: str, cut: str, extra: dict[str, object]
) -> None:
    widths = [96, 33, 64, 7]
    folder = saved(tmp_path / "model", family, cut, widths=widths, **extra)
    for kind, bound in (("f32", 0.02), ("f16", 0.1), ("q8_0", 0.4)):
        made = export_gguf(folder, tmp_path / f"{kind}.gguf", kind)
        found = made.agreement
        # With our loader, which the agreement is with, on the same weights.
        assert found is not None and found.cuts and found.largest < bound
        assert found.tokens == found.same > 4 or kind == "q8_0"
    fields = GGUFReader(str(tmp_path / "f32.gguf")).fields
    assert fields["general.architecture"].contents() == "deci"
    assert fields["deci.feed_forward_length"].contents() == widths
    assert fields["deci.attention.head_count"].contents() == [4] * 4
    # A file that transformers does not open says so; the folder is what is evaluated.
    with pytest.raises(AutopruneError, match="of an architecture that transformers cannot open"):
        autoprune.load(str(tmp_path / "f32.gguf"))
    with pytest.raises(UsageError, match="family 'deci'"):
        export_gguf(tmp_path / "f32.gguf", tmp_path / "again.gguf", "f16")


def test_a_window_that_slides_is_refused_and_one_as_long_as_the_text_is_not(tmp_path: Path) -> None:
    short = saved(tmp_path / "short", "mistral", sliding_window=64)
    with pytest.raises(UsageError, match="sliding window of 64 tokens"):
        export_gguf(short, tmp_path / "short.gguf", "f16", compute=False)
    whole = saved(tmp_path / "whole", "mistral", sliding_window=128)
    export_gguf(whole, tmp_path / "whole.gguf", "f16", compute=False)
    fields = GGUFReader(str(tmp_path / "whole.gguf")).fields
    assert fields["general.architecture"].contents() == "llama"


def test_equal_widths_are_written_under_the_familys_own_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    export_gguf(folder, tmp_path / "model.gguf", "f32", compute=False)
    fields = GGUFReader(str(tmp_path / "model.gguf")).fields
    assert fields["general.architecture"].contents() == "llama"
    assert fields["llama.feed_forward_length"].contents() == 96
    assert fields["llama.attention.head_count"].contents() == 4


@pytest.mark.parametrize(("kind", "bound"), [("f16", 0.02), ("q8_0", 0.4)])
def test_narrower_files_stay_near(llama: Path, tmp_path: Path, kind: str, bound: float) -> None:
    made = export_gguf(llama, tmp_path / "model.gguf", kind)
    assert 0 < float((logits(llama) - logits(made.file)).abs().max()) < bound
    assert made.bytes == made.file.stat().st_size and 0 < made.worst <= 1
    tokenizer, theirs = (autoprune.load(str(ref)).tokenizer for ref in (llama, made.file))
    assert tokenizer("hello the 12").input_ids == theirs("hello the 12").input_ids
    assert (theirs.bos_token, theirs.eos_token) == ("<s>", "</s>")
    assert theirs.chat_template == tokenizer.chat_template


@asks_llama_cpp
@pytest.mark.parametrize("kind", ["q4_0", "q4_k_m"])
def test_a_gguf_file_is_a_source_too(llama: Path, tmp_path: Path, kind: str) -> None:
    first = export_gguf(llama, tmp_path / "first.gguf", "f32")
    again = export_gguf(first.file, tmp_path / "again.gguf", kind)
    straight = export_gguf(llama, tmp_path / "straight.gguf", kind)
    assert torch.equal(logits(again.file), logits(straight.file))
    assert again.agreement is not None and again.agreement.cuts


def test_a_file_is_named_by_the_model_and_not_by_a_commit(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = shutil.copytree(llama, tmp_path / ("1" * 40))
    monkeypatch.setattr(
        "autoprune.models.reference.snapshot_download", lambda *_, **__: str(snapshot)
    )
    monkeypatch.chdir(llama)
    for ref, name in (("owner/small", "small"), (str(llama), "llama"), (".", "llama")):
        writer = mock.Mock()
        gguf_sources.open_checkpoint(ref).add_metadata(writer)
        writer.add_name.assert_called_once_with(name)


def test_a_pruned_folder_keeps_the_tokenizer_of_the_file_it_was_made_of(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = export_gguf(llama, tmp_path / "dense.gguf", "f32").file
    pruned = tmp_path / "pruned"
    loaded = autoprune.load(str(file))
    loaded.model.save_pretrained(pruned)
    loaded.tokenizer.save_pretrained(pruned)
    record = {"model": str(file), "model_digest": resolve(str(file)).digest}
    (pruned / "autoprune.json").write_text(json.dumps(record))
    assert gguf_sources.open_checkpoint(str(pruned)).copied
    again = shutil.copytree(pruned, tmp_path / "again")
    (again / "autoprune.json").write_text(json.dumps({"model": str(pruned)}))
    assert gguf_sources.open_checkpoint(str(again)).copied
    # A base model is not fetched from the hub for its tokenizer.
    fetch = mock.Mock(side_effect=AssertionError)
    monkeypatch.setattr("autoprune.models.reference.snapshot_download", fetch)
    for change in ({"model_digest": "0" * 64}, {"model": "org/model"}):
        (pruned / "autoprune.json").write_text(json.dumps(record | change))
        assert not gguf_sources.open_checkpoint(str(pruned)).copied
    fetch.assert_not_called()


@asks_llama_cpp
def test_rows_in_a_wrong_order_are_found(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_sources, "to_gguf", lambda name, weight, config, family: weight)
    monkeypatch.setattr(gguf_sources, "from_gguf", lambda name, weight, config, family: weight)
    with pytest.raises(AutopruneError, match=r"differ by .* nats on the same weights"):
        export_gguf(llama, tmp_path / "model.gguf", "f32")
    assert list(tmp_path.iterdir()) == []


@asks_llama_cpp
def test_a_prompt_that_llama_cpp_refuses_is_an_error(llama: Path, tmp_path: Path) -> None:
    made = export_gguf(llama, tmp_path / "model.gguf", "f32")
    with pytest.raises(AutopruneError, match=r"refused a prompt for model\.gguf: .*tokens"):
        llama_cpp.measure_speed(made.file, [10**6], 2, repeats=1, threads=1)


def test_llama_3_positions_are_written(tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    folder = saved(tmp_path / "model", rope_parameters=rope)
    config = transformers.AutoConfig.from_pretrained(folder)
    model = autoprune.load(str(folder)).model
    plain = 1 / 10000.0 ** (torch.arange(0, 16, 2) / 16)
    factors = rope_factors(config)
    assert factors is not None and factors.max() == 8 and factors.min() == 1
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, plain / torch.from_numpy(factors))
    made = export_gguf(folder, tmp_path / "model.gguf", "f32")
    assert made.agreement is None or made.agreement.largest < 0.02


@pytest.mark.parametrize("kind", sorted(gguf_types._BOUNDS))
def test_bounds_hold_and_see_a_changed_code(kind: Kind) -> None:
    if kind in gguf_types._CODED_BY_LLAMA_CPP and not llama_cpp.installed():
        pytest.skip("needs xllamacpp")
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((16, 512)).astype(np.float32)
    even = rng.random((16, 512), np.float32)
    for weight in (normal, normal**3, np.sign(normal), even, 0 * normal):
        assert check_bound("w", weight, dequantise(quantise(weight, kind), kind), kind) <= 1
    back = dequantise(quantise(normal, kind), kind).copy()
    back[3, 5] += 2.0
    with pytest.raises(AutopruneError, match="w does not fit"):
        check_bound("w", normal, back, kind)
    if kind == Kind.F16:
        with pytest.raises(AutopruneError, match="bf16 or f32"):
            check_bound("w", normal * 1e6, dequantise(quantise(normal * 1e6, kind), kind), kind)


def test_mixtures_follow_llama_quantize() -> None:
    kinds = FILE_TYPES["q4_k_m"]
    types = [kinds.kind(f"blk.{i}.ffn_down.weight", (512, 512), 16, tied=True) for i in range(16)]
    assert [i for i, kind in enumerate(types) if kind == Kind.Q6_K] == [0, 1, 4, 7, 10, 13, 14, 15]
    assert kinds.kind("token_embd.weight", (9, 512), 16, tied=True) == Kind.Q6_K
    assert kinds.kind("token_embd.weight", (9, 512), 16, tied=False) == Kind.Q4_K
    # 576 columns are no whole number of blocks of 256; 24 not even of 32.
    assert kinds.kind("blk.2.attn_q.weight", (576, 576), 16, tied=True) == Kind.Q5_0
    # The router of a mixture of experts.
    assert kinds.kind("blk.2.ffn_gate_inp.weight", (8, 256), 16, tied=True) == Kind.F32
    assert kinds.kind("blk.2.attn_q.weight", (24, 24), 16, tied=True) == Kind.F16
    assert FILE_TYPES["q4_0"].kind("output.weight", (9, 512), 16, tied=False) == Kind.Q8_0


def test_what_cannot_be_exported_is_refused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model.gguf"
    with pytest.raises(UnknownNameError, match="did you mean"):
        export_gguf(llama, out, "q8")
    with pytest.raises(UsageError, match=r"does not end in \.gguf"):
        export_gguf(llama, tmp_path / "model.bin")
    with pytest.raises(UsageError, match="lies in the source"):
        export_gguf(llama, llama / "model.gguf")
    out.write_text("years of work")
    with pytest.raises(UsageError, match="--overwrite"):
        export_gguf(llama, out)
    with pytest.raises(UsageError, match=r"different widths.*norms of queries and keys of qwen3"):
        export_gguf(saved(tmp_path / "norms", "qwen3", widths=(96, 64)), tmp_path / "norms.gguf")
    other = tmp_path / "other"
    shutil.copytree(llama, other)
    config = json.loads((other / "config.json").read_text())
    for change, words in (
        ({"model_type": "gpt2"}, "family 'gpt2'.* llama, mistral, qwen2, qwen3"),
        ({"num_hidden_layers": 1}, "has no place in a GGUF file of llama with 1 blocks"),
        ({"num_hidden_layers": 3}, "lacks 9 tensors .* blk.2.attn_k.weight first"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"vocab_size": 9}, "rows of embeddings"),
    ):
        (other / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(AutopruneError, match=words):
            export_gguf(other, out, overwrite=True)
    (other / "config.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"config\.json could not be read"):
        export_gguf(other, out, overwrite=True)
    shutil.copy(llama / "config.json", other)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DamagedFileError, match=r"model\.safetensors is damaged"):
        export_gguf(other, out, overwrite=True)
    out.rename(tmp_path / "broken.gguf")
    with pytest.raises(DamagedFileError, match="not a readable GGUF file"):
        export_gguf(tmp_path / "broken.gguf", out)
    assert not out.exists()
    monkeypatch.setattr(gguf_types, "find_spec", lambda name: None)
    gguf_types._llama_cpp.cache_clear()
    with pytest.raises(PrerequisiteError, match="take a type that needs none: f32"):
        file_type("q4_k_m")
