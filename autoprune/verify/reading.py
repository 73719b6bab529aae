"""What a frozen reader reports about the tokens of each step: surprise, doubt, hidden states."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.models.positions import position_limit
from autoprune.progress import Progress, Report, silent
from autoprune.text.beginning import prompt_ids, text_ids
from autoprune.verify.chains import Chain

# Depths, as shares of the blocks, at which hidden states are read; the last has the final norm.
DEPTHS = (0.5, 0.75, 1.0)
# Log-probabilities of the likeliest next tokens.
TOP = 4


@dataclass(frozen=True)
class ReadStep:
    """One step as the reader sees it.

    Args:
        surprise: Log-probability of each of its tokens, float32 [tokens].
        features: Its doubts and hidden states at each token, float32 [tokens, features].
    """

    surprise: Tensor
    features: Tensor


def reader_digest(reader: LoadedModel) -> str:
    """SHA-256 of the weights as they are in memory, with their names, shapes and type."""
    sha = hashlib.sha256()
    for name, value in sorted(reader.model.state_dict().items()):
        sha.update(f"{name}:{tuple(value.shape)}:{value.dtype}\n".encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def read_steps(
    reader: LoadedModel, chains: Sequence[Chain], *, report: Report = silent
) -> list[list[ReadStep]]:
    """Read each solution once, as it stands; the reader is not changed.

    Solutions are read one by one. Without padding, a step's score cannot depend on what is read
    with it, in any type of weights. The question and each step are encoded separately, so a step
    has the same tokens whatever follows it.

    Args:
        reader: The model.
        chains: Questions with their steps.
        report: Callback, called with progress.

    Returns:
        The steps of each chain.

    Raises:
        UsageError: If a chain is longer than the reader's positions.
        AutopruneError: If the reader computes NaN or infinite numbers.
    """
    encoded = [_encode(reader, chain) for chain in chains]
    limit = position_limit(reader.model)
    for number, pieces in enumerate(encoded, 1):
        length = sum(map(len, pieces))
        if limit is not None and length > limit:
            raise UsageError(
                f"solution {number} takes {length} tokens with its question; the reader has "
                f"{limit} positions: leave it out, or take another reader"
            )
    found = []
    for pieces in encoded:
        found.append(_read(reader, pieces))
        report(Progress("reading", len(found), len(encoded)))
    return found


def _encode(reader: LoadedModel, chain: Chain) -> list[list[int]]:
    """Token ids of the prompt, then of each step."""
    prompt = prompt_ids(reader.tokenizer, chain.prompt)
    return [prompt, *(text_ids(reader.tokenizer, f"\n{step}") for step in chain.steps)]


@torch.inference_mode()
def _read(reader: LoadedModel, pieces: list[list[int]]) -> list[ReadStep]:
    row = torch.tensor([token for piece in pieces for token in piece], device=reader.model.device)
    output = reader.model(input_ids=row[None], output_hidden_states=True, use_cache=False)
    blocks, start = len(output.hidden_states) - 1, len(pieces[0])
    layers = [output.hidden_states[round(depth * blocks)] for depth in DEPTHS]
    doubts = _doubts(output.logits[0, start - 1 : -1].float(), row[start:])
    features = torch.cat([doubts, *(layer[0, start:].float() for layer in layers)], dim=1).cpu()
    if not bool(torch.isfinite(features).all()):
        raise AutopruneError(
            f"the reader {reader.source.ref} computes NaN or infinite numbers and verifies "
            "nothing; take another reader or a wider type"
        )
    sizes = [len(piece) for piece in pieces[1:]]
    return [ReadStep(part[:, 0], part) for part in torch.split(features, sizes)]


def _doubts(logits: Tensor, tokens: Tensor) -> Tensor:
    """How likely the reader finds each token, and how sure it was, [tokens, 3 + TOP]."""
    logs = logits.log_softmax(-1)
    own = logs.gather(1, tokens[:, None])
    # Tokens that a model rules out add nothing: 0 times minus infinity.
    entropy = -(logs.exp() * logs).nan_to_num(nan=0.0).sum(-1, keepdim=True)
    rank = (logs > own).sum(-1, keepdim=True).float().log1p()
    return torch.cat([own, entropy, rank, logs.topk(TOP).values], dim=1)
