"""The bench of a comparison: its cells, where they are kept, and the peer tools."""

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.bench import Bench
from autoprune.bench.scoring import HostScorer
from autoprune.bench.text import BenchText
from autoprune.comparison.cells import CellStore
from autoprune.comparison.draws import MOST_DRAWS
from autoprune.comparison.looks import OwnLooks, SealedLooks
from autoprune.comparison.peer import PeerModel
from autoprune.comparison.shared import PoolDraws
from autoprune.evaluation.suites.named_files import digests_of_files
from autoprune.progress import Report, silent
from autoprune.renamed import renamed
from autoprune.statistics.statistics import ALL
from autoprune.store import Store
from autoprune.text.seen_text import SeenText, known_text, seen_in, united
from autoprune.text.windows import rendering_digest

if TYPE_CHECKING:
    from autoprune.comparison.plan import Cell
    from autoprune.programs import ProgramRunner
    from autoprune.pruning import Precision


class ComparisonBench(Bench):
    """A bench with everything that the cells of a comparison need.

    Args:
        model_ref: As in :class:`autoprune.bench.bench.Bench`, like the arguments up to ``dtype``.
        cells: Where finished cells are kept.
        calibration_windows: Windows of a calibration draw.
        draws: Number of calibration draws.
        expected: Statistics that the methods of the comparison need.
        peers: Interpreter by peer tool.
        suites: Suites that every pruned model is measured by, with all settings.
        own_distance: Settings of ``lm`` for the distance to the dense model on the sealed windows.
        precision: Rounding of block tuning; see :class:`autoprune.pruning.PruningPlan`.
        texts: References of calibration texts by name; none: the text's own part.
        looks: Counts looks at sealed text; None: those of this bench alone.
        programs: Runs designed programs; None refuses them.
        commit: Commit of the program's source, for the record.
    """

    @renamed(samples="calibration_windows", seeds="draws")
    def __init__(
        self,
        model_ref: str,
        store: Store,
        text: BenchText,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        *,
        cells: CellStore,
        calibration_windows: int,
        draws: int = 1,
        expected: Collection[str] = (),
        peers: Mapping[str, str] | None = None,
        suites: list[dict[str, Any]] | None = None,
        own_distance: dict[str, Any] | None = None,
        precision: "Precision" = "auto",
        texts: Mapping[str, str] | None = None,
        looks: SealedLooks | None = None,
        programs: "ProgramRunner | None" = None,
        commit: str | None = None,
    ) -> None:
        self.draws = PoolDraws(calibration_windows, seed, expected, texts)
        super().__init__(
            model_ref, store, text, seed, report, dtype,
            scorer=HostScorer(ALL), calibration=self.draws, programs=programs,
        )  # fmt: skip
        self.cells = cells
        self.draw_count = draws
        self.peers = dict(peers or {})
        self.suites = suites or []
        self.own_distance = own_distance or {}
        self.precision = precision
        self.looks: SealedLooks = OwnLooks() if looks is None else looks
        self.commit = commit
        # Full records of the run's cells, by the digest of the cell.
        self.records: dict[str, dict[str, Any]] = {}
        # Where each record is kept: the digest of its own key under an empty name, and of each
        # suite's key by suite.
        self.kept: dict[str, dict[str, str]] = {}

    @property
    def record(self) -> Path | None:
        """Folder of the comparison's record; None for none."""
        return self.cells.record

    def draw_of(self, cell: "Cell") -> int:
        """Index of the draw that a cell is calibrated on."""
        return self.draws.number("" if cell.method is None else cell.method.calibration, cell.seed)

    def chance(self, cell: "Cell") -> int:
        """Seed of what a cell draws at random; those of two comparisons' seeds never meet."""
        return cell.seed + MOST_DRAWS * self.seed

    @cached_property
    def texts(self) -> dict[str, dict[str, Any]]:
        """What each named text is; first read while the model is dense, as it may write it."""
        names = self.draws.texts
        return {name: self.draws.text_facts(self, name, self.draw_count) for name in names}

    @cached_property
    def seen(self) -> SeenText | None:
        """Seen text of the named texts, which suites exclude for every cell; None without any.

        All windows that draws, and recovery beyond them, may take.
        """
        there = [name for name, facts in self.texts.items() if "reason" not in facts]
        draws = [self.draws.number(name, n) for name in there for n in range(self.draw_count)]
        pools = {id(pool): pool for pool in (self.draws.pool(self, draw) for draw in draws)}
        return seen_in(pools.values(), self.tokenizer)

    @cached_property
    def seen_before(self) -> SeenText | None:
        """What suites leave out: all that may calibrate, and what the model was made with."""
        own = self.seen if self.texts else seen_in([self.draws.pool(self)], self.tokenizer)
        return united([own, known_text([self.model_ref])])

    @cached_property
    def suite_files(self) -> dict[str, dict[str, list[str]]]:
        """Digests of what the settings of each suite name: its content may change.

        The model and the compared text do not count: the keys of cells hold their digests.
        """
        known = ("", self.text.corpus, self.model_ref)
        found = {s["name"]: digests_of_files(s["settings"], known) for s in self.suites}
        return {name: {"files": files} if files else {} for name, files in found.items()}

    @cached_property
    def rendering(self) -> str:
        """SHA-256 of the tokenizer with its chat template, which suites render messages by."""
        return rendering_digest(self.tokenizer)

    @cached_property
    def peer_model(self) -> PeerModel:
        """The dense model on disk, for tools in environments of their own."""
        return PeerModel(self.loaded, self.cells.root)

    def close(self) -> None:
        """Release the model and everything that depends on it."""
        copy: Any = self.__dict__.pop("peer_model", None)
        if copy is not None:
            copy.close()
        super().close()
