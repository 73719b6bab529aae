"""A tiny byte-level model with its tokenizer, made in place; and one that computes NaN."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from autoprune.models.loading import LoadedModel
from autoprune.models.reference import ModelSource


def byte_tokenizer(*, begin: bool = True) -> PreTrainedTokenizerFast:
    """One token per byte, so any text survives; without a beginning token on request."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{letter: i + 2 for i, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"eos_token": "</s>"} | ({"bos_token": "<s>"} if begin else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def tiny_subject(*, seed: int = 0, begin: bool = True, positions: int = 1024) -> LoadedModel:
    """A random two-block Llama over bytes."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config).eval()
    model.config.use_cache = False
    source = ModelSource(f"tiny-{seed}", Path("tiny"), None, f"{seed:064d}")
    return LoadedModel(model, byte_tokenizer(begin=begin), source)


def broken_subject() -> LoadedModel:
    """A model whose logits are NaN."""
    subject = tiny_subject()
    with torch.no_grad():
        subject.model.model.norm.weight.fill_(float("nan"))
    return subject


def teach(subject: LoadedModel, text: str, steps: int) -> None:
    """Train the model on a text that it fits into one window."""
    ids = subject.tokenizer(text, return_tensors="pt").input_ids
    optimiser = torch.optim.Adam(subject.model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        subject.model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()


def save_subject(subject: LoadedModel, folder: Path) -> Path:
    """The folder, with model and tokenizer as transformers saves them."""
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    return folder


def tiny_place(folder: Path) -> tuple[Path, Path]:
    """In a folder that of a tiny model, and a text of forty documents."""
    text = folder / "text.txt"
    text.write_text("\n\n".join(f"{n} some words " * 30 for n in range(40)), encoding="utf-8")
    return save_subject(tiny_subject(), folder / "tiny"), text


def invented_documents() -> str:
    """Sixty documents of invented words, enough for three parts."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 6))) for _ in range(120)]
    return "\n\n".join(" ".join(rng.choices(words[: 20 + n], k=60)) for n in range(60))
