"""What all parameters share; command line, Prefect's form and record are made from them."""

from autoprune.search_settings import PATTERN, Share
from flows.params.base import Params, checked, one_paragraph, setting
from flows.params.fields import DEMO_CORPUS, DEMO_MODEL

__all__ = [
    "DEMO_CORPUS",
    "DEMO_MODEL",
    "PATTERN",
    "Params",
    "Share",
    "checked",
    "one_paragraph",
    "setting",
]
