"""Parameters of ``autoprune sandbox``."""

from pathlib import Path
from typing import Literal

from autoprune.errors import UsageError
from flows.params.base import Params, setting


class SandboxParams(Params):
    """Build or check the container that designed code runs in."""

    action: Literal["build", "check"] = setting(..., "What to do", word=True)
    image: Literal["auto", "bind", "interpreter", "dockerfile"] = setting(
        "auto",
        "Source of the image; auto: an interpreter or dockerfile image where one exists, else bind "
        "(default auto)",
    )
    base: str | None = setting(None, "Base image for --image dockerfile", metavar="IMAGE")
    wheels: str | None = setting(
        None, "Wheels for --image dockerfile, which then uses no network", metavar="DIR"
    )
    runtime: str | None = setting(
        None, "Check with this OCI runtime, such as runsc", metavar="NAME"
    )

    def check(self) -> None:
        """See :meth:`Params.check`."""
        other = "check" if self.action == "build" else "build"
        for name in ("runtime",) if self.action == "build" else ("base", "wheels"):
            if getattr(self, name):
                raise UsageError(
                    f"--{name} goes with `autoprune sandbox {other}`, not with {self.action}; "
                    "leave it out"
                )
        if self.image != "dockerfile" and (self.base or self.wheels):
            raise UsageError(
                "--base and --wheels go with --image dockerfile; add it or leave them out"
            )
        if self.wheels and not any(Path(self.wheels).glob("*.whl")):
            raise UsageError(
                f"{self.wheels} holds no .whl files; fill it with pip download, or leave it out"
            )
