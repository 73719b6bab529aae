"""Parameters of the flows, shared by the command line, the Prefect form and the record."""

from autoprune.search_settings import Share
from flows.params.base import Params, checked, one_paragraph, setting
from flows.params.fields import DEMO_CORPUS, DEMO_MODEL, PATTERN
from flows.params.prune import PruneParams
from flows.params.search import SearchParams
from flows.params.stages import (
    CalibrateParams,
    InspectParams,
    NightlyParams,
    PromoteParams,
    StageParams,
)

__all__ = [
    "DEMO_CORPUS",
    "DEMO_MODEL",
    "PATTERN",
    "CalibrateParams",
    "InspectParams",
    "NightlyParams",
    "Params",
    "PromoteParams",
    "PruneParams",
    "SearchParams",
    "Share",
    "StageParams",
    "checked",
    "one_paragraph",
    "setting",
]
