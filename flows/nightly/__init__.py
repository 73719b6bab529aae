"""The search of every night; the flow takes seconds to import."""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.nightly.flow import nightly as nightly

__getattr__ = lazily(__name__, {"nightly": "flows.nightly.flow"})
