"""Tasks of the designer: open it, ask it. A dead designer stops the search but loses nothing."""

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from autoprune.design import canary, local, transports
from autoprune.design.chat import ChatRequest
from autoprune.design.given import read_script
from autoprune.design.kinds import DesignerKind, require_key
from autoprune.design.parsing import cut_reply
from autoprune.design.refusals import RequestRefusedError
from autoprune.errors import LONGEST_DETAIL, UsageError, reason_of
from autoprune.search.spec import DesignerSpec
from autoprune.search.steps import Failed
from tasks.addresses import is_of_this_machine
from tasks.canaries import remember
from tasks.recorded import task_run
from tasks.state import State
from tasks.switches import chosen
from tasks.turns import turn

if TYPE_CHECKING:
    from autoprune.design.canary import Canary
    from autoprune.design.chat import Reply
    from autoprune.design.mailbox import Mailbox
    from autoprune.design.transports import Designer
    from autoprune.search.steps import Outcome

# Limit on concurrent local designers, created by `autoprune up`.
DESIGNER_LIMIT = "llm"
ON_THIS_MACHINE = ("local", "self")
# On: an endpoint is asked during measurements, wherever it is; off: it never is.
OVERLAP_VARIABLE = "AUTOPRUNE_OVERLAP"
# Minimum number of tokens that a local server reserves for a prompt and its answer.
LEAST_CONTEXT = 4096
# Room for what a repair quotes from a failed answer, and for errors in counting.
CONTEXT_SPARE = 1024


class DesignerSession:
    """A run's session with its designer: opened at the first question, closed at the end.

    A local server is idle while the model is measured, because steps run one after the other:
    sharing the cores would slow the server down more than twentyfold.

    Args:
        spec: Who designs.
        state: Where a joined local model is kept.
        script: Answers of the scripted designer.
        target: Reference of the model being pruned, which the designer ``self`` asks.
        mailbox: Where the designer ``files`` is asked.

    ``seen`` is what the canary saw of each opened model, in order of opening.
    """

    def __init__(
        self,
        spec: DesignerSpec,
        state: State,
        script: Path | None = None,
        target: str | None = None,
        mailbox: "Mailbox | None" = None,
    ) -> None:
        self.spec = spec
        self.mailbox = mailbox
        # Answers from files, until the step that asked takes them.
        self.received: dict[str, Reply] = {}
        self.state = state
        self.script = script
        self.target = target
        self._server: Any = None
        # By model; the first or only one has the key None.
        self._designers: dict[str | None, Designer] = {}
        self.seen: list[Canary] = []

    @property
    def kind(self) -> str:
        """What ``auto`` means here."""
        if self.spec.kind != "auto":
            return self.spec.kind
        named = self._address or os.environ.get("OPENAI_API_KEY")
        return "openai" if named else "local"

    @property
    def elsewhere(self) -> bool:
        """Whether it runs on another machine, so that this one can measure meanwhile.

        ``AUTOPRUNE_OVERLAP`` decides where the address does not tell.
        """
        named = chosen(OVERLAP_VARIABLE)
        if self.kind == "files":
            return True
        if self.kind != "openai":
            return False
        if named is not None:
            return named
        return not (self._address and is_of_this_machine(self._address))

    @property
    def _address(self) -> str | None:
        """Address of the endpoint; None: OpenAI's own."""
        return self.spec.base_url or os.environ.get("OPENAI_BASE_URL")

    def designer(self, model: str | None = None) -> "Designer":
        """A designer, started when needed."""
        key = None if model == self.spec.model else model
        if key not in self._designers:
            self._designers[key] = self._open(key)
        return self._designers[key]

    @property
    def label(self) -> str:
        """Who designs, for the record."""
        opened = self._designers.get(None)
        first = self.spec.model if opened is None else opened.name
        names = [name for name in (first, *self.spec.also_models) if name]
        return f"{self.kind}: {', '.join(names)}" if names else self.kind

    def check(self) -> None:
        """Check early that the designer is available; a local server is not started yet."""
        if self.spec.also_models and self.kind in ON_THIS_MACHINE:
            raise UsageError(
                f"the designer {self.kind} serves one model, not also "
                f"{', '.join(self.spec.also_models)}; name one, or an endpoint that has several"
            )
        require_key(self.kind, self._address)
        if self.kind in ON_THIS_MACHINE:
            local.require_server()
        if self.kind == "local" and self.spec.model is None:
            local.find_parts()
        elif self.kind == "local":
            self.named_file()
        elif self.kind == "self":
            self._target_file()
        elif self.kind == "files":
            if self.mailbox is None:
                raise UsageError("the designer files needs a folder; name it as files:DIR")
            self.mailbox.check()
        elif self.kind in ("openai", "scripted"):
            for model in (None, *self.spec.also_models):
                self.designer(model)

    def answer(self, request: ChatRequest) -> "Outcome":
        """Ask one question; a request that is itself refused is a verdict, recorded for good."""
        designer, started = self.designer(request.model), time.monotonic()
        try:
            return cut_reply(designer.complete(request))
        except RequestRefusedError as error:
            return Failed(error.code, reason_of(error, LONGEST_DETAIL), time.monotonic() - started)

    def close(self) -> None:
        """Stop a local server."""
        server, self._server = self._server, None
        self._designers.clear()
        if server is not None:
            server.stop()

    def _open(self, model: str | None) -> "Designer":
        match self.kind:
            case "openai":
                # Models of one endpoint may differ in what they enforce and in their fields.
                remote = transports.OpenAIDesigner(
                    base_url=self.spec.base_url, model=model or self.spec.model
                )
                self.seen.append(canary.probe_server(remote, tokens=self.spec.answer_tokens))
                designer: Designer = remote
                return designer
            case "local":
                if self.spec.model:
                    return self._serve(self.named_file())
                joined = local.join_model(self.state.root / "models")
                return self._serve(joined, local.MODEL_NAME)
            case "self":
                return self._serve(self._target_file())
            case "files":
                return transports.FilesDesigner(model or self.spec.model or "", self.received)
            case "scripted":
                return transports.ScriptedDesigner(read_script(self.script))
            case other:
                raise UsageError(
                    f"the designer {other!r} answers no questions here; "
                    f"choose one of {', '.join(get_args(DesignerKind))}"
                )

    def named_file(self) -> Path:
        """The file that the designer ``local`` serves, where one is named."""
        path = Path(self.spec.model or "").expanduser()
        if not path.is_file():
            raise UsageError(
                f"the designer local serves a .gguf file, and there is none at {path}; name one, "
                "or leave out designer_model for the model of `make install`"
            )
        return path

    def _target_file(self) -> Path:
        if self.target is None:
            raise UsageError("the designer self needs a target model; choose openai or local")
        return local.target_file(self.target)

    def _serve(self, model: Path, name: str | None = None) -> "Designer":
        wanted = self.spec.prompt_tokens + self.spec.answer_tokens + CONTEXT_SPARE
        context = max(LEAST_CONTEXT, wanted)
        self._server = local.LocalServer(model, name=name or model.stem, context=context)
        self._server.start()
        served: transports.OpenAIDesigner = self._server.designer()
        # The cores are shared with measurements, so only the decisive questions are asked.
        seen = canary.probe_server(served, thorough=False)
        self.seen.append(seen)
        remember(self.state, model, seen)
        return served


@task_run("propose", "propose {step_id} ({operator})")
def propose(
    session: DesignerSession, step_id: str, operator: str, request: ChatRequest
) -> "Outcome":
    """Ask the designer one question."""
    # The answer is computed on this machine, so the designers of runs take turns. The holder of
    # this slot waits for no other slot, so it cannot block a run that holds the machine's.
    with turn(session.state, DESIGNER_LIMIT) if session.kind in ON_THIS_MACHINE else nullcontext():
        return session.answer(request)
