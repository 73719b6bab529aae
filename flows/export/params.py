"""Parameters of ``autoprune export``."""

from pathlib import Path

from autoprune.errors import UsageError
from flows.params.base import Params, setting
from flows.params.named import check_models


class ExportParams(Params):
    """Write a model as a GGUF file, send it to a hub, or both."""

    model: str = setting(
        ...,
        "Dense or pruned model: folder, hub id, .gguf file or package:module/file.gguf",
        metavar="MODEL",
        positional=True,
    )
    gguf: str | None = setting(
        None,
        "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0; with llama.cpp's own code q6_k, q5_k_m, "
        "q4_k_m, q3_k_m",
        metavar="TYPE",
    )
    out: str | None = setting(None, ".gguf file to write", metavar="FILE")
    overwrite: bool = setting(False, "Replace an existing file (default: refuse)")
    compute: bool = setting(
        True,
        "Compare what llama.cpp and transformers compute, which holds the model in memory in "
        "float32",
    )
    push_to_hub: str | None = setting(
        None,
        "Send the result to this repository, created if it does not exist",
        metavar="OWNER/NAME",
    )
    private: bool = setting(
        True,
        "Create a missing repository as private (the default), or public with --no-private",
        both=True,
    )

    def check(self) -> None:
        """See :meth:`Params.check`."""
        if not (self.gguf or self.push_to_hub):
            raise UsageError(
                "nothing to do: give --gguf TYPE --out FILE, or --push-to-hub OWNER/NAME, or both"
            )
        if bool(self.gguf) != bool(self.out):
            raise UsageError(
                "--gguf TYPE and --out FILE go together: the type and the file to write"
            )
        given = [("--overwrite", self.overwrite), ("--no-compute", not self.compute)]
        idle = [option for option, wanted in given if wanted]
        if idle and not self.gguf:
            raise UsageError(
                "nothing is written without --gguf TYPE --out FILE: add these, or leave out "
                f"{' and '.join(idle)}"
            )
        if not self.private and self.push_to_hub is None:
            raise UsageError(
                "no-private is for a repository that is sent to; give --push-to-hub OWNER/NAME, or "
                "leave it out"
            )
        check_models(self.model)
        if not self.gguf and not (self.folder / "config.json").is_file():
            raise UsageError(
                f"{self.model!r} is not a folder of a saved model, and only one is sent as it is; "
                "prune it first, or add --gguf TYPE --out FILE"
            )

    @property
    def folder(self) -> Path:
        """The saved model, which is sent as it is if no file is written."""
        return Path(self.model).expanduser()
