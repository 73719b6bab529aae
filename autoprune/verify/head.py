"""The uncertainty head: a small transformer over the tokens of one step, arXiv 2511.06209.

The paper's head reads the attention to the last tokens and the likeliest next-token probabilities;
ours reads hidden states in place of the attention maps, which fused kernels do not return.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 64
HEADS = 4
DROPOUT = 0.1


class UncertaintyHead(nn.Module):
    """Map the features of a step's tokens to the logit of the step being right.

    Args:
        features: Number of features per token.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        # Statistics of the training tokens: features differ by orders of magnitude.
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.project = nn.Sequential(
            nn.Linear(features, 2 * WIDTH), nn.LayerNorm(2 * WIDTH), nn.GELU(), nn.Dropout(DROPOUT),
            nn.Linear(2 * WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU(),
        )  # fmt: skip
        self.mix = _Block()
        self.answer = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU(), nn.Dropout(DROPOUT),
            nn.Linear(WIDTH, 1),
        )  # fmt: skip

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits, [steps].

        Args:
            features: [steps, tokens, features]; anything after a step's own tokens is ignored.
            mask: Which tokens belong to the step, bool [steps, tokens].
        """
        hidden = self.project((features - self.mean) / self.scale)
        hidden = self.mix(hidden, mask)
        weights = mask[..., None].to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        logits: Tensor = self.answer(pooled)[:, 0]
        return logits


class _Block(nn.Module):
    """One encoder block; written out, since torch's own computes padded batches differently."""

    def __init__(self) -> None:
        super().__init__()
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.before_attention, self.before_wide = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.wide = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[steps, tokens, width]; no token attends to one outside its step."""
        steps, tokens, _ = hidden.shape
        joint = self.queries_keys_values(self.before_attention(hidden))
        parts = joint.view(steps, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        mixed = functional.scaled_dot_product_attention(query, key, value, mask[:, None, None])
        hidden = hidden + self.out(mixed.transpose(1, 2).reshape(steps, tokens, WIDTH))
        wide: Tensor = self.wide(self.before_wide(hidden))
        return hidden + wide


def padded(steps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Features of steps as one batch, [steps, tokens, features], and which tokens are real."""
    lengths = torch.tensor([len(step) for step in steps])
    features = nn.utils.rnn.pad_sequence(steps, batch_first=True)
    return features, torch.arange(features.shape[1]) < lengths[:, None]
