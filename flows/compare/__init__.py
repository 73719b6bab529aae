"""Methods compared on one model.

``flows.compare.compare``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from autoprune.comparison.recorded_tables import tables_of_record as tables_of_record
    from flows.compare.flow import compare as compare

_PLACES = {
    "compare": "flows.compare.flow",
    "tables_of_record": "autoprune.comparison.recorded_tables",
}

__getattr__ = lazily(__name__, _PLACES)
