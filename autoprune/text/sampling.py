"""Seeded sampling from a model, independent of its checkpoint's generation settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteriaList

from autoprune.models.loading import LoadedModel
from autoprune.models.positions import position_limit
from autoprune.progress import Progress, Report
from autoprune.text.ending import ending_ids, until_ending

LONGEST = 512
SHORTEST = 32


@dataclass
class TokenCounter:
    """A transformers stopping criterion that reports progress at every step and never stops.

    Args:
        report: Called with the number of tokens so far.
        stage: Name of the stage in the report.
        before: Tokens of earlier batches.
        total: Tokens wanted.
        apart: Whether prompt tokens are excluded from the count.
        width: Length of the prompts, if they are padded.
        ends: Tokens at and after the end of a text that is shorter than its batch.
    """

    report: Report
    stage: str
    before: int
    total: int
    apart: bool = False
    width: int = 0
    ends: tuple[int, ...] = ()

    def __call__(self, input_ids: Tensor, scores: Tensor, **others: Any) -> Tensor:
        """Report; input_ids [b, n] -> False for every row, bool [b]."""
        counted = input_ids[:, self.width if self.apart else 0 :]
        written = int((~torch.isin(counted, counted.new_tensor(self.ends))).sum())
        self.report(Progress(self.stage, min(self.before + written, self.total - 1), self.total,
                             "tokens"))  # fmt: skip
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def without_checkpoint_settings(model: Any) -> Iterator[None]:
    """Keep ``model.generate`` from using the generation settings of the checkpoint.

    transformers takes every setting that a caller leaves open from there, such as
    ``repetition_penalty``, which changes even greedy replies.
    """
    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


@torch.no_grad()
def sample(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    seed: int,
    temperature: float,
    counter: TokenCounter,
    shortest: int = SHORTEST,
    most: int = LONGEST,
) -> list[list[int]]:
    """Continue every prompt by sampling, without disturbing torch's global generator."""
    device, tokenizer = loaded.model.device, loaded.tokenizer
    ends, width = ending_ids(loaded), max(map(len, prompts))
    limit = position_limit(loaded.model) or width + most
    longest = max(min(most, limit - width), 1)
    pad = next((t for t in (tokenizer.pad_token_id, *ends) if t is not None), 0)
    counter.ends, counter.width = tuple({pad, *ends}), width
    rows = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with forked, without_checkpoint_settings(loaded.model):
        torch.manual_seed(seed)
        output = loaded.model.generate(
            input_ids=rows,
            attention_mask=mask,
            generation_config=GenerationConfig(
                max_new_tokens=longest,
                min_new_tokens=min(shortest, longest),
                do_sample=True,
                temperature=temperature,
                top_k=0,
                pad_token_id=pad,
                eos_token_id=ends or None,
                use_cache=True,
            ),
            stopping_criteria=StoppingCriteriaList([counter]),
        )
    return [until_ending(row, ends) for row in output[:, width:].tolist()]
