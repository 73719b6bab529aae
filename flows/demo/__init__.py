"""The whole workflow on a small model; the flow of its second half is imported on first use."""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.demo.flow import second_model as second_model
    from flows.demo.flow import second_text as second_text

_PLACES = {
    "second_model": "flows.demo.flow",
    "second_text": "flows.demo.flow",
}

__getattr__ = lazily(__name__, _PLACES)
