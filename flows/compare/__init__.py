"""Methods compared on one model.

``flows.compare.compare``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.compare.flow import compare as compare
    from tasks.compare_record import tables_of_record as tables_of_record

_PLACES = {
    "compare": "flows.compare.flow",
    "tables_of_record": "tasks.compare_record",
}

__getattr__ = lazily(__name__, _PLACES)
