"""All results of a search of MLflow's, which come in pages."""

from collections.abc import Callable
from typing import TypeVar

from mlflow.store.entities import PagedList

T = TypeVar("T")


def all_pages(fetch: Callable[[str | None], PagedList[T]]) -> list[T]:
    """Fetch page after page."""
    found: list[T] = []
    token: str | None = None
    while True:
        page = fetch(token)
        found += page
        token = page.token
        if not token:
            return found
