"""Batched replies, greedy, whatever sampling settings a checkpoint brings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel
from autoprune.models.positions import position_limit
from autoprune.progress import Progress, Report, silent
from autoprune.text.beginning import prompt_ids
from autoprune.text.ending import ending_ids, until_ending
from autoprune.text.sampling import without_checkpoint_settings


def greedy_replies(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    new_tokens: int,
    stop: Sequence[str] = (),
    batch: int = 8,
    report: Report = silent,
) -> list[str]:
    """Continue every prompt with the most probable tokens, deterministically."""
    ids = check_length(loaded, prompts, new_tokens)
    replies: list[str] = []
    for start in range(0, len(ids), batch):
        replies += _reply_batch(loaded, ids[start : start + batch], new_tokens, stop)
        report(Progress("generation", len(replies), len(ids)))
    return replies


@torch.inference_mode()
def greedy_continuations(
    loaded: LoadedModel,
    prompts: Tensor,
    *,
    new_tokens: int,
    batch: int = 8,
    report: Report = silent,
) -> Tensor:
    """Continue windows with the most probable tokens; no text ends before ``new_tokens``."""
    found = []
    for part in torch.split(prompts, batch):
        new = _generate(loaded, part, torch.ones_like(part), new_tokens, least=new_tokens)
        found.append(new.cpu())
        report(Progress("generation", sum(map(len, found)), len(prompts)))
    return torch.cat(found)


def check_length(loaded: LoadedModel, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
    """Token ids of the prompts, if the longest and its reply fit the model."""
    ids = [_token_ids(loaded.tokenizer, prompt) for prompt in prompts]
    length = max(map(len, ids), default=0) + new_tokens
    limit = position_limit(loaded.model)
    if limit is not None and length > limit:
        raise UsageError(
            f"the longest prompt and its reply take {length} tokens; the model has {limit} "
            "positions: use fewer examples or a shorter reply"
        )
    return ids


@torch.inference_mode()
def _reply_batch(
    loaded: LoadedModel,
    ids: list[list[int]],
    new_tokens: int,
    stop: Sequence[str],
) -> list[str]:
    tokenizer, width = loaded.tokenizer, max(map(len, ids))
    pad = _padding(tokenizer)
    rows = torch.tensor([[pad] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    ends = _StopAt(tokenizer, width, stop)
    output = _generate(loaded, rows, mask, new_tokens, ends)
    own = [until_ending(row, ending_ids(loaded)) for row in output.tolist()]
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in own]
    return [_cut(text, stop) for text in texts]


def _generate(
    loaded: LoadedModel,
    rows: Tensor,
    mask: Tensor,
    new_tokens: int,
    *criteria: StoppingCriteria,
    least: int | None = None,
) -> Tensor:
    """New tokens of a batch, int64 [rows, at most new_tokens]."""
    device = loaded.model.device
    settings = GenerationConfig(
        max_new_tokens=new_tokens,
        min_new_tokens=least,
        do_sample=False,
        pad_token_id=_padding(loaded.tokenizer),
        eos_token_id=ending_ids(loaded) or None,
        use_cache=True,
    )
    with without_checkpoint_settings(loaded.model):
        output = loaded.model.generate(
            input_ids=rows.to(device),
            attention_mask=mask.to(device),
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList(list(criteria)),
        )
    new: Tensor = output[:, rows.shape[1] :]
    return new


def _padding(tokenizer: Any) -> int:
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((token for token in known if token is not None), 0)


class _StopAt(StoppingCriteria):  # type: ignore[misc]
    """Ends a row as soon as its reply holds what ends it, however it is tokenised."""

    def __init__(self, tokenizer: Any, start: int, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._start = start
        self._stop = stop

    def __call__(self, input_ids: Tensor, scores: Any, **rest: Any) -> Tensor:
        replies = [self._tokenizer.decode(row) for row in input_ids[:, self._start :]]
        done = [_end(reply, self._stop) is not None for reply in replies]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


def _token_ids(tokenizer: Any, prompt: str) -> list[int]:
    # A tokenizer without a beginning token gives no token for an empty prompt.
    ids = prompt_ids(tokenizer, prompt)
    start = [tokenizer.bos_token_id, tokenizer.eos_token_id, 0]
    return ids or [next(token for token in start if token is not None)]


def _cut(reply: str, stop: Sequence[str]) -> str:
    return reply[: _end(reply, stop)]


def _end(reply: str, stop: Sequence[str]) -> int | None:
    return min((reply.index(text) for text in stop if text in reply), default=None)
