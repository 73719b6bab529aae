"""Which runs of one name in MLflow belong to a state folder."""

from collections.abc import Iterable, Mapping

from mlflow.entities import Run


def belonging(runs: Iterable[Run], own: Mapping[str, str]) -> list[Run]:
    """Runs whose tags contradict none of these, those that have most of them first.

    Earlier versions set fewer tags: the first to come back takes such a run.
    """
    found = [run for run in runs if own.items() <= (own | run.data.tags).items()]
    return sorted(found, key=lambda run: sum(tag not in run.data.tags for tag in own))
