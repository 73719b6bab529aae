"""Registries and parsers that requests and listings need, imported on first use.

They import torch, which ``--help``, completion, run listings and most refusals do without.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from autoprune.allocation import ALLOCATORS as ALLOCATORS
    from autoprune.allocation import auto_grid as auto_grid
    from autoprune.allocation import build_allocator as build_allocator
    from autoprune.bench.smaller import Shrinking as Shrinking
    from autoprune.budget import Budget as Budget
    from autoprune.comparison.methods import PEER as PEER
    from autoprune.comparison.methods import PEER_METHODS as PEER_METHODS
    from autoprune.comparison.methods import crossed as crossed
    from autoprune.comparison.methods import parse_methods as parse_methods
    from autoprune.comparison.peer import interpreter_of as interpreter_of
    from autoprune.comparison.result import named_baselines as named_baselines
    from autoprune.design.prompts import Prompts as Prompts
    from autoprune.evaluation.suites import SUITES as SUITES
    from autoprune.masking.pattern import parse_pattern as parse_pattern
    from autoprune.masking.pattern import resolve_sparsity as resolve_sparsity
    from autoprune.metrics import METRICS as METRICS
    from autoprune.metrics import build_metric as build_metric
    from autoprune.models.device import require_device as require_device
    from autoprune.models.pushing import check_push as check_push
    from autoprune.models.reference import check_reference as check_reference
    from autoprune.models.saved_type import matrix_types as matrix_types
    from autoprune.models.target import check_target as check_target
    from autoprune.pruning.products import settled_precision as settled_precision
    from autoprune.repair import REPAIRS as REPAIRS
    from autoprune.repair import Repair as Repair
    from autoprune.schemes import SCHEMES as SCHEMES
    from autoprune.search.spec import DesignerSpec as DesignerSpec
    from autoprune.search.spec import SearchBudget as SearchBudget
    from autoprune.search.spec import SearchSpec as SearchSpec
    from autoprune.search.starts import given_start as given_start
    from autoprune.text.corpora import CORPORA as CORPORA
    from autoprune.text.corpora import corpus_summary as corpus_summary
    from autoprune.text.generated import is_generated as is_generated
    from autoprune.text.rows import HubRows as HubRows
    from autoprune.verify import VERIFIERS as VERIFIERS

_PLACES = {
    "ALLOCATORS": "autoprune.allocation",
    "Budget": "autoprune.budget",
    "SearchBudget": "autoprune.search.spec",
    "CORPORA": "autoprune.text.corpora",
    "DesignerSpec": "autoprune.search.spec",
    "HubRows": "autoprune.text.rows",
    "METRICS": "autoprune.metrics",
    "PEER": "autoprune.comparison.methods",
    "PEER_METHODS": "autoprune.comparison.methods",
    "Prompts": "autoprune.design.prompts",
    "Repair": "autoprune.repair",
    "SCHEMES": "autoprune.schemes",
    "REPAIRS": "autoprune.repair",
    "SUITES": "autoprune.evaluation.suites",
    "SearchSpec": "autoprune.search.spec",
    "Shrinking": "autoprune.bench.smaller",
    "VERIFIERS": "autoprune.verify",
    "auto_grid": "autoprune.allocation",
    "build_allocator": "autoprune.allocation",
    "build_metric": "autoprune.metrics",
    "check_push": "autoprune.models.pushing",
    "check_reference": "autoprune.models.reference",
    "check_target": "autoprune.models.target",
    "corpus_summary": "autoprune.text.corpora",
    "crossed": "autoprune.comparison.methods",
    "given_start": "autoprune.search.starts",
    "is_generated": "autoprune.text.generated",
    "interpreter_of": "autoprune.comparison.peer",
    "matrix_types": "autoprune.models.saved_type",
    "named_baselines": "autoprune.comparison.result",
    "parse_methods": "autoprune.comparison.methods",
    "parse_pattern": "autoprune.masking.pattern",
    "require_device": "autoprune.models.device",
    "resolve_sparsity": "autoprune.masking.pattern",
    "settled_precision": "autoprune.pruning.products",
}

__getattr__ = lazily(__name__, _PLACES)
