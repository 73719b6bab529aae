"""The cells of a study: which there are, and the digest under which each is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from autoprune import __version__
from autoprune.digest import digest_json
from autoprune.study.schemes import DENSE, Scheme, parse_scheme

# Raised when a change of the code changes what a cell means.
CELL_VERSION = 2

Policy = Literal["generic", "aligned", "self-generated"]
POLICIES: tuple[Policy, ...] = ("generic", "aligned", "self-generated")
# The dense model, and schemes that read no text, have no calibration.
NO_POLICY = "-"


@dataclass(frozen=True)
class Subject:
    """A model pruned in one way.

    Args:
        model: Its reference.
        scheme: Spelling of the scheme.
        ratio: Share of zeros; 0 for the dense model.
        policy: Which text calibrates it.
    """

    model: str
    scheme: str
    ratio: float
    policy: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)


def subjects(
    model: str, schemes: Sequence[Scheme], ratios: Sequence[float], policies: Sequence[str]
) -> list[Subject]:
    """All subjects of one model, the dense one first; none twice.

    A scheme that reads no calibration text has one subject per ratio, not one per policy.
    """
    found = [Subject(model, DENSE, 0.0, NO_POLICY)]
    found += [
        Subject(model, scheme.name, ratio, policy)
        for ratio in ratios
        for scheme in schemes
        if scheme.name != DENSE
        for policy in (policies if scheme.needs_calibration or scheme.reason else (NO_POLICY,))
    ]
    return list(dict.fromkeys(found))


def cell_digest(
    subject: Subject,
    model_digest: str,
    text: dict[str, Any],
    suite: dict[str, Any],
    seen: str,
    versions: dict[str, str],
) -> str:
    """Under which name a result is kept: everything that decides about it.

    Args:
        subject: The pruned model.
        model_digest: Digest of the dense weights; the reference may be a path that changes.
        text: Digest of the calibration text, windows and their length.
        suite: Name and all settings.
        seen: Digest of everything that must not be measured on.
        versions: Of the packages that compute the figures; see :func:`versions_of`.
    """
    own = {**subject.to_json(), "model": model_digest}
    return digest_json([CELL_VERSION, own, text, suite, seen, versions])


def versions_of(suite: str) -> dict[str, str]:
    """Versions of what computes a suite's figures; those of lm-eval count for its tasks alone.

    Args:
        suite: Name of the suite.
    """
    packages = ["torch", "transformers"] + (["lm_eval"] if suite == "tasks" else [])
    return {"autoprune": __version__} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def matrix(
    models: Sequence[str],
    schemes: Sequence[str],
    ratios: Sequence[float],
    policies: Sequence[str],
) -> Iterator[Subject]:
    """Subjects of all models in order."""
    parsed = [parse_scheme(text) for text in schemes]
    for model in models:
        yield from subjects(model, parsed, ratios, policies)
