"""Parameters of ``autoprune design``."""

from typing import Literal

from flows.params.base import Params, setting


class DesignParams(Params):
    """Fill the prompt templates with what a search would ask next."""

    action: Literal["render"] = setting(..., "What to do", word=True)
    run: str | None = setting(
        None, "Name of the run (default: the latest)", metavar="RUN", word=True
    )
    operator: str | None = setting(None, "Only this operator, such as exploit", metavar="NAME")
    prompts: str | None = setting(None, "Templates that replace built-in ones", metavar="FOLDER")
    grammar: bool = setting(False, "Also show the answer's grammar")
