"""Train the uncertainty head on labelled steps, with the reader frozen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent
from autoprune.verify.auroc import auroc
from autoprune.verify.chains import CORRUPTED, Chain, draw_chains
from autoprune.verify.head import UncertaintyHead, padded
from autoprune.verify.reading import ReadStep, read_steps, reader_digest
from autoprune.verify.uhead import FORMAT, UHead, head_scores

_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 0.1
_BATCH = 32
# Share of the chains that decides when training ends, and how many epochs may bring no gain.
_HELD_OUT = 0.2
_PATIENCE = 5


@dataclass(frozen=True)
class Training:
    """How a head is trained.

    Args:
        chains: Number of chains from the training templates.
        epochs: Most passes over them; training ends earlier if held-out chains do not improve.
        corrupted: Share of wrong steps.
        seed: Seed of chains, held-out part, initial weights and order.
    """

    chains: int = 600
    epochs: int = 30
    corrupted: float = CORRUPTED
    seed: int = 0

    def __post_init__(self) -> None:
        if self.chains < 5 or self.epochs < 1 or not 0.0 < self.corrupted < 1.0:
            raise UsageError(
                f"{self.chains} chains, {self.epochs} epochs and a share of {self.corrupted:g} "
                "wrong steps train nothing; give 5 chains, 1 epoch and a share above 0 and below "
                "1, or more"
            )


def train_verifier(
    reader: LoadedModel,
    training: Training | None = None,
    chains: Sequence[Chain] | None = None,
    report: Report = silent,
) -> UHead:
    """Train a head on top of a frozen reader.

    Args:
        reader: The model; its weights stay as they are.
        training: Sizes and seed; None for the defaults.
        chains: Labelled chains to use in place of templated ones.
        report: Callback, called with progress.

    Raises:
        UsageError: If there are too few chains, the labels of one part are all the same, or a chain
            does not fit the reader.
    """
    training = training or Training()
    if chains is None:
        chains = draw_chains(training.chains, training.seed, corrupted=training.corrupted)
    if any(len(chain.right) != len(chain.steps) for chain in chains):
        raise UsageError("a chain does not say of each step whether it is right; add its labels")
    return train_on(reader, chains, read_steps(reader, chains, report=report), training,
                    report=report)  # fmt: skip


def train_on(
    reader: LoadedModel,
    chains: Sequence[Chain],
    read: Sequence[Sequence[ReadStep]],
    training: Training,
    report: Report = silent,
) -> UHead:
    """Like :func:`train_verifier`, with chains that were read before.

    Args:
        reader: The model that read them.
        chains: Labelled chains.
        read: Their steps as the reader sees them.
        training: Epochs and seed.
        report: Callback, called with progress.
    """
    labels = [right for chain in chains for right in chain.right]
    wrong = labels.count(False) / max(1, len(labels))
    training = replace(training, chains=len(chains))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        order = torch.randperm(len(chains)).tolist()
        held = order[: max(1, round(_HELD_OUT * len(chains)))]
        parts = [_Part.of(chains, read, some) for some in (order[len(held) :], held)]
        head = UncertaintyHead(parts[0].steps[0].shape[1])
        best, epochs = _fit(head, parts[0], parts[1], training.epochs, report)
    record = {
        "kind": UHead.NAME,
        "format": FORMAT,
        "reader": reader.source.ref,
        "reader_digest": reader_digest(reader),
        "dtype": str(reader.model.dtype),
        "features": len(head.mean),
        "parameters": head.parameter_count,
        "training": asdict(training) | {"corrupted": wrong, "epochs_run": epochs},
        "held_out": {"chains": len(held), "steps": len(parts[1].steps), "auroc": best},
    }
    return UHead(reader, head, record)


@dataclass(frozen=True)
class _Part:
    steps: list[Tensor]
    right: list[bool]

    @classmethod
    def of(
        cls, chains: Sequence[Chain], read: Sequence[Sequence[ReadStep]], some: Sequence[int]
    ) -> "_Part":
        right = [one for number in some for one in chains[number].right]
        if len(set(right)) < 2:
            raise UsageError(
                f"all {len(right)} steps of a part of the {len(chains)} chains have the same "
                "label, of which nothing is learned; give more chains, right and wrong steps"
            )
        return cls([step.features for number in some for step in read[number]], right)


def _fit(
    head: UncertaintyHead, train: _Part, held: _Part, epochs: int, report: Report
) -> tuple[float, int]:
    """Fit in place; return the best AUROC on held-out chains, and the number of epochs."""
    tokens = torch.cat(train.steps)
    head.mean.copy_(tokens.mean(0))
    # A nearly constant feature would only contribute its rounding errors.
    head.scale.copy_(tokens.std(0).clamp_min(1e-2))
    del tokens
    optimizer = torch.optim.AdamW(head.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    truth = torch.tensor(train.right, dtype=torch.float32)
    best, kept, waited = -1.0, head.state_dict(), 0
    for epoch in range(1, epochs + 1):
        head.train()
        for batch in torch.split(torch.randperm(len(train.steps)), _BATCH):
            logits = head(*padded([train.steps[i] for i in batch.tolist()]))
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(logits, truth[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
        found = auroc(head_scores(head.eval(), held.steps), held.right)
        report(Progress("training", epoch, epochs, f"held-out AUROC {found:.3f}"))
        waited += 1
        if found > best:
            best, waited = found, 0
            kept = {name: value.clone() for name, value in head.state_dict().items()}
        if waited >= _PATIENCE:
            break
    head.load_state_dict(kept)
    return best, epoch
