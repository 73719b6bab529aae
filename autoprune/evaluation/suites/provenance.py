"""What every row says about where it came from."""

import platform
from datetime import UTC, datetime
from typing import Any

import autoprune
from autoprune.digest import digest_json
from autoprune.models.loading import LoadedModel
from autoprune.numerics import package_version
from autoprune.precision import type_name
from autoprune.text.beginning import beginning_rule
from autoprune.text.windows import backend_rules


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of everything that turns text into tokens: vocabulary, merges, special tokens."""
    rules: Any = backend_rules(tokenizer)
    if rules is None:
        rules = sorted(tokenizer.get_vocab().items())
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return digest_json([type(tokenizer).__name__, rules, special])


def model_protocol(loaded: LoadedModel) -> dict[str, Any]:
    """The model's part of a protocol: tokenizer, beginning of each window, type of the weights."""
    return {
        "tokenizer": tokenizer_digest(loaded.tokenizer),
        "beginning_token": beginning_rule(loaded.tokenizer),
        "dtype": type_name(loaded.model.dtype),
    }


def model_provenance(loaded: LoadedModel) -> dict[str, Any]:
    """Which model was measured, when, where and with which versions."""
    return {
        "model": loaded.source.ref,
        "model_digest": loaded.source.digest,
        "device": str(loaded.model.device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"autoprune": autoprune.__version__, "python": platform.python_version()}
        | {package: package_version(package) for package in ("torch", "transformers")},
    }
