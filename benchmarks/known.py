"""Figures that a benchmark measured before, kept one line each, so that one cut off goes on."""

import json
from pathlib import Path
from typing import Any, Generic, TypeVar

from autoprune.digest import digest_json
from benchmarks.measured import read_lines

Figure = TypeVar("Figure", float, list[float])


class Known(Generic[Figure]):
    """Figures on disk, one JSON line each, so that a run that was cut off goes on.

    Args:
        path: The file.
        where: What all keys depend on.
    """

    def __init__(self, path: Path, where: list[Any]) -> None:
        self.path = path
        self.where = where
        self.figures: dict[str, Figure] = dict(read_lines(path))

    def get(self, *key: Any) -> Figure | None:
        """The figure, if it was measured."""
        return self.figures.get(self.name(*key))

    def put(self, value: Figure, *key: Any) -> Figure:
        """Keep a figure."""
        name = self.name(*key)
        self.figures[name] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, value]) + "\n")
        return value

    def name(self, *key: Any) -> str:
        """Under which name a figure is kept."""
        return digest_json([self.where, *key])
