"""Parameters of ``autoprune instruct``."""

from pathlib import Path
from typing import Literal

from autoprune.errors import UsageError
from autoprune.search_settings import AnswerTokens
from flows.params.base import Params, setting
from flows.params.fields import AnswerFolder, Seed


class InstructParams(Params):
    """Make a training set or a window of dated questions out of raw threads."""

    action: Literal["build", "bench"] = setting(..., "What to make", word=True)
    raw: str = setting(
        ...,
        'Threads, one a line: {"id": "7", "date": "2023-05-01", "posts": ["question", "reply"]}',
        metavar="RAW.jsonl",
        word=True,
    )
    until: str | None = setting(
        None, "Last day, such as 2023-12; what may be later is left out", metavar="DATE"
    )
    since: str | None = setting(
        None,
        "First day, such as 2024-01; what may be earlier is left out",
        metavar="DATE",
        option="from",
    )
    out: str | None = setting(
        None,
        "build: folder to write; bench: folder of windows (default: where the suite live looks)",
        metavar="DIR",
    )
    format: Literal["jsonl", "parquet"] = setting("jsonl", "File format")
    overwrite: bool = setting(False, "Replace an existing set or window (default: refuse)")
    references: tuple[str, ...] = setting(
        (),
        "Texts that no item may overlap with, such as benchmark.jsonl#question",
        group="hygiene",
        metavar="REF[,REF]",
    )
    overlap_words: int | None = setting(
        None,
        "Leave out items that share N words in a row (default: build 10, bench 8)",
        group="hygiene",
        metavar="N",
        ge=1,
    )
    designer: Literal["auto", "openai", "local"] | AnswerFolder = setting(
        "auto",
        "Who rewrites; auto: the endpoint of OPENAI_BASE_URL or OPENAI_API_KEY if set, else the "
        "local model; openai; local; files:DIR: a person or agent who answers in DIR",
        group="designer",
        metavar="NAME",
    )
    designer_model: str | None = setting(
        None,
        "Model at the endpoint; of two, the second writes the second rewrite; with local: a .gguf "
        "file",
        group="designer",
        metavar="NAME[,NAME]",
    )
    base_url: str | None = setting(
        None, "Address of the endpoint; ends in /v1", group="designer", metavar="URL"
    )
    answer_tokens: AnswerTokens = setting(
        2048, "Token limit of one answer, reasoning included", group="designer", metavar="N"
    )
    temperature: float = setting(
        0.7,
        "Sampling temperature of the rewrites, above 0 so that they differ",
        group="designer",
        metavar="T",
    )
    seed: Seed = setting(0)

    def check(self) -> None:
        """See :meth:`Params.check`."""
        if self.builds and (self.until is None or self.out is None or self.since is not None):
            raise UsageError(
                "build takes --until DATE and --out DIR, and no --from; write `autoprune instruct "
                "build RAW.jsonl --until 2023-12 --out train`"
            )
        if not self.builds and self.since is None:
            raise UsageError(
                "bench takes --from DATE; write `autoprune instruct bench RAW.jsonl --from 2024-01`"
            )
        if not 0.0 < self.temperature <= 2.0:
            raise UsageError(f"--temperature {self.temperature:g} is not above 0 and at most 2")
        if len(self.models) > 2 or len(set(self.models)) < len(self.models):
            raise UsageError(
                f"--designer-model {self.designer_model} is not one name, or two that differ"
            )
        if not self.threads.is_file():
            raise UsageError(
                f"{self.raw} does not exist; pass a .jsonl file of threads, one object a line"
            )

    @property
    def builds(self) -> bool:
        """Whether a training set is made, and not a window."""
        return self.action == "build"

    @property
    def threads(self) -> Path:
        """The file of threads."""
        return Path(self.raw).expanduser()

    @property
    def models(self) -> list[str]:
        """None, one or two names: for both rewrites, or for the first and the second."""
        named = self.designer_model or ""
        models = [named] if self.designer == "local" and named else named.split(",")
        return [model.strip() for model in models if model.strip()]
