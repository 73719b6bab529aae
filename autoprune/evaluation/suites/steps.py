"""Suite ``steps``: how well step verifiers that use this model as reader find wrong steps."""

from dataclasses import asdict, dataclass
from pathlib import Path

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent
from autoprune.verify import (
    Chain,
    StepVerifier,
    Training,
    UHead,
    draw_chains,
    find_verifier,
    open_verifier,
    train_verifier,
)
from autoprune.verify.auroc import auroc, auroc_interval, chain_values
from autoprune.verify.chains import CORRUPTED

# 2: items are solutions; they were wrong steps.
VERSION = 2
METRIC = "auroc"


@SUITES.register("steps")
@dataclass(frozen=True)
class StepsSuite:
    """AUROC of step verifiers on solutions of held-out templates, with exact labels.

    Args:
        verifiers: Names, or folders of trained ones; for ``uhead``, a head is
            trained on the model first.
        chains: Number of solutions to judge.
        corrupted: Share of their steps that are wrong.
        seed: Seed of these solutions, and of training.
        train: Number of solutions of other templates to train a ``uhead`` on.
        epochs: Maximum number of epochs of that training.
    """

    verifiers: tuple[str, ...] = ("programmatic", "surprisal", "uhead")
    chains: int = 200
    corrupted: float = CORRUPTED
    seed: int = 0
    train: int = 600
    epochs: int = 30

    name = "steps"

    def __post_init__(self) -> None:
        if not self.verifiers or self.chains < 2 or not 0.0 < self.corrupted < 1.0:
            raise UsageError(
                f"verifiers {self.verifiers}, chains {self.chains}, corrupted {self.corrupted:g} "
                "is not possible; name a verifier, chains is at least 2, corrupted above 0 and "
                "below 1"
            )
        self._training()
        for text in self.verifiers:
            find_verifier(text)
        if len({_name(text) for text in self.verifiers}) < len(self.verifiers):
            raise UsageError(
                f"two verifiers of {'+'.join(self.verifiers)} have one name; name each once, and "
                "rename folders that are called the same"
            )

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Draw the solutions and open the trained verifiers.

        See :class:`autoprune.evaluation.suites.suite.Suite`.
        """
        self._chains()
        for text in self.verifiers:
            if text != UHead.NAME:
                open_verifier(text, loaded)

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        chains = self._chains()
        settings = {
            "version": VERSION,
            "chains": self.chains,
            "corrupted": self.corrupted,
            "seed": self.seed,
            "data": digest_json([asdict(chain) for chain in chains]),
        }
        context = RowContext(
            self.name, model_protocol(loaded) | settings, model_provenance(loaded), self.seed
        )
        rows = []
        for number, text in enumerate(self.verifiers, 1):
            rows.append(self._measure(loaded, text, chains, context, report))
            report(Progress(self.name, number, len(self.verifiers), rows[-1].describe()[:80]))
        return rows

    def _chains(self) -> list[Chain]:
        """The solutions to judge, some of whose steps are right and some wrong."""
        chains = draw_chains(self.chains, self.seed, part="test", corrupted=self.corrupted)
        right = [one for chain in chains for one in chain.right]
        if len(set(right)) < 2:
            raise UsageError(
                f"of {len(right)} steps in {self.chains} chains, a share of {self.corrupted:g} is "
                f"{right.count(False)} wrong ones, and an AUROC takes right and wrong ones; give "
                "more chains, or another share"
            )
        return chains

    def _training(self) -> Training:
        return Training(self.train, self.epochs, self.corrupted, self.seed)

    def _measure(
        self,
        loaded: LoadedModel,
        text: str,
        chains: list[Chain],
        context: RowContext,
        report: Report,
    ) -> Row:
        name = _name(text)
        # A head trained here differs for every model, so its training is the protocol.
        fresh = text == UHead.NAME
        protocol: dict[str, object] = {"training": asdict(self._training())} if fresh else {}
        try:
            with finite_logits(loaded.model):
                verifier = (
                    train_verifier(loaded, self._training(), report=report)
                    if fresh
                    else open_verifier(text, loaded)
                )
                scores = verifier.score_chains(chains, report)
        except NotFiniteError as error:
            reason = str(error)
            return context.missing(name, METRIC, reason, status="not_finite", protocol=protocol)
        except UsageError as error:
            # For example a head that was trained for the dense model, where this one is pruned.
            return context.missing(name, METRIC, str(error), protocol=protocol)
        if not fresh:
            protocol |= verifier.describe()
        flat = [score for one in scores for score in one]
        right = [chain.right for chain in chains]
        return context.figure(
            name,
            METRIC,
            auroc(flat, [one for steps in right for one in steps]),
            interval=auroc_interval(scores, right, seed=self.seed),
            items=tuple(chain_values(scores, right)),
            protocol=protocol,
            details=_details(verifier, chains, scores),
        )


def _name(text: str) -> str:
    """Name of a row: the verifier's, or that of its folder."""
    return Path(text).name


def _details(
    verifier: StepVerifier, chains: list[Chain], scores: list[list[float]]
) -> dict[str, object]:
    """Sizes, AUROC by family of templates, and how a head was trained."""
    families: dict[str, float] = {}
    for family in sorted({chain.family for chain in chains}):
        some = [(s, c.right) for s, c in zip(scores, chains, strict=True) if c.family == family]
        found = [pair for steps, truth in some for pair in zip(steps, truth, strict=True)]
        if len({truth for _, truth in found}) == 2:
            families[family] = auroc([s for s, _ in found], [truth for _, truth in found])
    right = [one for chain in chains for one in chain.right]
    trained = dict(verifier.record) if isinstance(verifier, UHead) else {}
    return {"steps": len(right), "wrong": right.count(False), "families": families} | trained
