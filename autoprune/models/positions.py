"""Whether texts fit the positions that a model has."""

from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.models.structure import text_config

# OPT leaves the first two rows of its table unused.
_OFFSETS = (0, 2)


def position_limit(model: PreTrainedModel) -> int | None:
    """Most tokens that the model says it can read; None where it does not say."""
    found: int | None = getattr(text_config(model), "max_position_embeddings", None)
    return found


def require_positions(model: PreTrainedModel, windows: Tensor) -> None:
    """Refuse windows longer than a model's table of learned positions.

    Models with rotary or relative positions have no table and run at any length.
    """
    limit = position_limit(model)
    if not isinstance(limit, int) or windows.shape[1] <= limit:
        return
    words = model.get_input_embeddings()
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m is not words]
    if any(table.num_embeddings - limit in _OFFSETS for table in tables):
        raise UsageError(
            f"windows of {windows.shape[1]} tokens are longer than the {limit} positions that "
            f"this model has learned; take --seqlen {limit} or less"
        )
