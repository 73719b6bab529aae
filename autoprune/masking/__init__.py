"""From scores and budgets to exact masks: quotas, comparison groups, N:M, packed bits."""

from autoprune.masking.packed import PackedMask, joint_digest, masks_digest, pack_mask
from autoprune.masking.pattern import NM, parse_pattern, resolve_sparsity
from autoprune.masking.permutation import PermutedMask, keep_nm_permuted
from autoprune.masking.quotas import budget_zeros, layer_quotas, nm_quotas
from autoprune.masking.select import (
    keep_counts,
    keep_joint,
    keep_matrix,
    keep_nm,
    keep_rows,
    select_masks,
)

__all__ = [
    "NM",
    "PackedMask",
    "PermutedMask",
    "budget_zeros",
    "joint_digest",
    "keep_counts",
    "keep_joint",
    "keep_matrix",
    "keep_nm",
    "keep_nm_permuted",
    "keep_rows",
    "layer_quotas",
    "masks_digest",
    "nm_quotas",
    "pack_mask",
    "parse_pattern",
    "resolve_sparsity",
    "select_masks",
]
