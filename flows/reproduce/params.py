"""Parameters of ``autoprune reproduce``."""

from pathlib import Path
from typing import Literal

from flows.params.base import Params, setting


class ReproduceParams(Params):
    """Make a candidate, or a folder that a scheme made, once more and compare."""

    run: str = setting(
        ..., "Name of a search, or folder that a scheme made", metavar="RUN|DIR", word=True
    )
    candidate: str | None = setting(
        None,
        "Measured candidate or baseline of the search, such as C7",
        metavar="CANDIDATE",
        word=True,
    )
    corpus: str | None = setting(
        None,
        "Calibration text of a folder whose record names a file (default: the record's)",
        metavar="REF",
    )
    out: str | None = setting(None, "Folder for the pruned model (default: none)", metavar="DIR")
    overwrite: bool = setting(False, "Replace an existing saved model in DIR (default: refuse)")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "Type of a candidate's saved weights; auto: that of the checkpoint (default auto)"
    )

    @property
    def folder(self) -> Path:
        """What is made again, if no candidate is named."""
        return Path(self.run).expanduser()

    @property
    def target(self) -> Path | None:
        """The folder to write, if any."""
        return None if self.out is None else Path(self.out).expanduser()
