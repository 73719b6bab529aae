"""Flows, and other code that commands use with them, imported on first use.

They import torch and Prefect, which takes seconds. A command opens its engine first, so that
Prefect's server starts meanwhile: ``engine.call(late.prune, params)``.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.calibrate import calibrate as calibrate
    from flows.compare import compare as compare
    from flows.evaluate import evaluate as evaluate
    from flows.promote import promote as promote
    from flows.promote import text_of as text_of
    from flows.prune import prune as prune
    from flows.pruning_text import pruning_text as pruning_text
    from flows.reproduce_folder import request_of as request_of
    from flows.search import search as search
    from flows.searching.docker import require_docker as require_docker
    from flows.searching.staging import verdict as verdict
    from flows.second_model import second_model as second_model
    from flows.second_model import second_text as second_text
    from flows.stage import stage as stage
    from tasks.compare_record import tables_of_record as tables_of_record
    from tasks.mirror import end_killed as end_killed
    from tasks.promotion import roll_back as roll_back
    from tasks.promotion import settle as settle
    from tasks.registered import require_model as require_model

_PLACES = {
    "calibrate": "flows.calibrate",
    "compare": "flows.compare",
    "end_killed": "tasks.mirror",
    "evaluate": "flows.evaluate",
    "promote": "flows.promote",
    "prune": "flows.prune",
    "request_of": "flows.reproduce_folder",
    "require_docker": "flows.searching.docker",
    "require_model": "tasks.registered",
    "pruning_text": "flows.pruning_text",
    "roll_back": "tasks.promotion",
    "search": "flows.search",
    "second_model": "flows.second_model",
    "second_text": "flows.second_model",
    "settle": "tasks.promotion",
    "stage": "flows.stage",
    "tables_of_record": "tasks.compare_record",
    "text_of": "flows.promote",
    "verdict": "flows.searching.staging",
}

__getattr__ = lazily(__name__, _PLACES)
