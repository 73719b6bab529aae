"""Parameters of ``autoprune verify``."""

from typing import ClassVar

from flows.params.base import Params, setting
from flows.params.fields import Dtype, Place, Seed


class VerifyParams(Params):
    """What training and scoring share."""

    model: str = setting(
        ...,
        "Model that reads: hub id, folder, .gguf file or package:module/file.gguf",
        metavar="MODEL",
    )
    dtype: Dtype = setting("float32")
    seed: Seed = setting(0)


class TrainParams(VerifyParams):
    """Train a head on worked solutions made from templates."""

    FIRST: ClassVar[tuple[str, ...]] = ("out", "chains", "epochs", "corrupted")

    out: Place = setting(..., "Folder to write; must be absent or empty", metavar="DIR")
    chains: int = setting(600, "Solutions to train on", ge=1)
    epochs: int = setting(30, "Maximum passes over them", ge=1)
    corrupted: float = setting(0.35, "Share of wrong steps", metavar="S")


class ScoreParams(VerifyParams):
    """Score each step of each solution in a file."""

    FIRST: ClassVar[tuple[str, ...]] = ("file", "verifier")

    file: str = setting(
        ..., 'One {"question": TEXT, "steps": [TEXT, ...]} per line', metavar="FILE.jsonl"
    )
    verifier: str = setting(
        ...,
        "Folder of a trained verifier, or programmatic or surprisal",
        metavar="DIR|NAME",
    )
