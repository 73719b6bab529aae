"""The gate that makes a challenger the champion.

``flows.promote.promote``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.promote.flow import promote as promote
    from flows.promote.flow import text_of as text_of
    from tasks.promotion import roll_back as roll_back
    from tasks.promotion import settle as settle
    from tasks.registered import require_model as require_model

_PLACES = {
    "promote": "flows.promote.flow",
    "require_model": "tasks.registered",
    "roll_back": "tasks.promotion",
    "settle": "tasks.promotion",
    "text_of": "flows.promote.flow",
}

__getattr__ = lazily(__name__, _PLACES)
