"""Packages that only our extras install, and the error if one is missing."""

from dataclasses import dataclass

from autoprune.errors import PrerequisiteError

# Importable module, and the extra in pyproject.toml that provides it.
EXTRA_OF = {
    "prefect": "platform",
    "mlflow": "platform",
    "docker": "platform",
    "openai": "search",
    "optuna": "search",
    "prefect_dask": "dask",
    "lm_eval": "tasks",
    "mcp": "mcp",
    "xllamacpp": "demo",
    "mwparserfromhell": "demo",
}


@dataclass(frozen=True)
class Missing:
    """A package that is not installed.

    Args:
        module: Its import name.
        extra: The extra that provides it.
    """

    module: str
    extra: str

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'autoprune[{self.extra}]'"


def missing_extra(error: BaseException) -> Missing | None:
    """Return the extra that provides a missing import; None for any other error."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    module = (error.name or "").partition(".")[0]
    return Missing(module, EXTRA_OF[module]) if module in EXTRA_OF else None


def with_extra(error: Exception, command: str) -> Exception:
    """Turn a missing-package error into one that names its extra; return others unchanged."""
    missing = missing_extra(error)
    if missing is None:
        return error
    return PrerequisiteError(
        f"the package {missing.module!r} is not installed, and `autoprune {command}` needs it; "
        f"type: {missing.install}"
    )
