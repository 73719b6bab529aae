"""Parameters of ``autoprune compact``."""

from pathlib import Path
from typing import Literal

from autoprune.errors import UsageError
from autoprune.targets import check_folder
from flows.params.base import Params, setting


class CompactParams(Params):
    """Write the folder of a pruned model without its zeros, or restore one that is compact."""

    model: str = setting(..., "Folder of a saved or compact model", metavar="MODEL")
    out: str = setting(..., "Folder to write", metavar="OUT")
    overwrite: bool = setting(False, "Replace an existing saved model in OUT (default: refuse)")
    encoding: Literal["bitmask", "csr"] | None = setting(
        None,
        "bitmask: one bit per weight (default); csr: rows and columns, smaller above about 94 % "
        "zeros",
    )

    def check(self) -> None:
        """See :meth:`Params.check`."""
        if not self.source.is_dir():
            raise UsageError(
                f"{str(self.source)!r} is not a folder; give one that `autoprune prune --out` or "
                "`save_pretrained` wrote (a GGUF or hub model is pruned first)"
            )
        check_folder(self.target, sources=[self.source], overwrite=self.overwrite)

    @property
    def source(self) -> Path:
        """The folder to read."""
        return Path(self.model).expanduser()

    @property
    def target(self) -> Path:
        """The folder to write."""
        return Path(self.out).expanduser()
