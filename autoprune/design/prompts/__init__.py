"""Prompt templates, which a user's folder can override file by file."""

import functools
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    TemplateError,
)
from jinja2.sandbox import SandboxedEnvironment

from autoprune.digest import digest_json
from autoprune.errors import UsageError


class Prompts:
    """The templates of one search.

    Args:
        folder: Templates that replace the built-in ones of the same name.

    Raises:
        UsageError: If the folder does not exist.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"prompt folder {folder} does not exist; make it or leave it out")
        self._environment = (
            _built_in() if folder is None else _environment(FileSystemLoader(folder))
        )

    @property
    def names(self) -> list[str]:
        """Names of all templates, sorted."""
        return [n for n in self._environment.list_templates() if n.endswith(".j2")]

    @property
    def digest(self) -> str:
        """SHA-256 of all templates; part of a search's identity."""
        return digest_json({name: self._source(name) for name in self.names})

    def _source(self, name: str) -> str:
        loader = self._environment.loader
        assert loader is not None
        try:
            return loader.get_source(self._environment, name)[0]
        except UnicodeDecodeError as error:
            raise UsageError(
                f"the prompt template {name} is not UTF-8 text ({error.reason}); save it as UTF-8"
            ) from error

    def render(self, name: str, **values: Any) -> str:
        """Fill a template."""
        try:
            return self._environment.get_template(f"{name}.j2").render(**values).strip()
        except TemplateError as error:
            raise UsageError(
                f"prompt template {name}.j2 cannot be filled ({error}); "
                "compare it with the one in autoprune/design/prompts"
            ) from error


def _environment(*loaders: BaseLoader) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=ChoiceLoader([*loaders, PackageLoader("autoprune.design", "prompts")]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


@functools.cache
def _built_in() -> SandboxedEnvironment:
    """Ours alone, which no user changes, so that all searches of a process compile them once."""
    return _environment()


def copy_templates(source: Path, target: Path) -> None:
    """Replace the templates in ``target`` by those in ``source``; copy nothing else."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = {template.relative_to(source) for template in source.rglob("*.j2")}
    for template in sorted(target.rglob("*.j2")):
        if template.relative_to(target) not in wanted:
            template.unlink()
    for name in sorted(wanted):
        template, place = source / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(template.read_bytes())
