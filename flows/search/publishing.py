"""What follows the steps of a search: the winner's checkpoint, the report, MLflow, the result."""

from typing import TYPE_CHECKING, Any

from autoprune.bench.saving import rounding_note
from autoprune.errors import AutopruneError
from autoprune.report.leaderboard import leaderboard
from autoprune.report.origin import authorship, given
from autoprune.report.run_report import next_command
from autoprune.report.sentences import draws, lead, trust
from flows.search.driver import Driver
from flows.search.foreseeing import paid
from flows.search.leaderboard import outcome_lines
from flows.search.params import SearchParams
from flows.terminal import console
from flows.text_split import forget_split
from tasks.card import write_card
from tasks.mirror import in_store
from tasks.report import run_page, write_page, write_report
from tasks.state import without_machine_paths
from tasks.winner import keep_winner, register_winner

if TYPE_CHECKING:
    from tasks.track.models import Registered


def keep(driver: Driver, dtype: str) -> None:
    """Save the winner's checkpoint unless it is already there, and write the report."""
    found, files = driver.search, driver.files
    driver.write_record()
    best = found.best
    if best is not None and best.recipe is not None and best.measurement is not None:
        try:
            record, kept = keep_winner(
                driver.bench,
                best.alias,
                best.recipe,
                best.measurement.mask_digest,
                found.spent.seconds,
                best.unsealed,
                dtype,
                found.budget_of(best.alias),
            )
        except AutopruneError:
            # What was measured is worth reading without a checkpoint, too.
            write_report(files, driver.record.report)
            raise
        what = f"{kept['zeros']:,} of {kept['prunable']:,} weights are zero"
        if found.spec.schemes:
            what = f"{kept['total']:,} parameters"
        console.screen().event(f"{best.alias} saved: {what} in the written files")
        if note := rounding_note(driver.bench, dtype):
            console.screen().event(note)
        driver.facts.add(checkpoint=kept)
        # The sealed figures and the record's next commands belong to the finished search.
        driver.write_record()
        write_card(files.winner, record, driver.record.report)
    write_report(files, driver.record.report)


def published(driver: Driver, params: SearchParams) -> dict[str, Any]:
    """Bring MLflow and Prefect up to date, show the outcome, and return what the command prints."""
    registered = _publish(driver, params)
    record = _closing(driver, params, registered)
    console.screen().outcome(outcome_lines(record))
    forget_split(params, driver.run_id)
    return record


def _publish(driver: Driver, params: SearchParams) -> dict[str, Any] | None:
    """Bring MLflow up to date and register the winner; what is there stays as it is."""
    facts = driver.facts.known
    mirrored, registered = in_store(driver.state, facts)
    wanted = params.register_winner and "checkpoint" in facts and registered is None
    if not mirrored or wanted:
        if driver.mirror("FINISHED"):
            driver.facts.add(mirrored=driver.parent, mlflow_place=driver.place)
        if wanted and register(driver)[0]:
            registered = driver.facts.known["registered"]
    show(driver)
    return registered


def show(driver: Driver) -> None:
    """Bring the flow run's page in Prefect up to date with the end of the run."""
    files = driver.files
    driver.publish()
    place = driver.place or driver.facts.known.get("mlflow_place", "")
    if place:
        driver.shown.mlflow(without_machine_paths(place, driver.state.root))
    driver.shown.report(run_page(files, driver.record.report, place))


def register(driver: Driver) -> "tuple[Registered | None, str]":
    """Register the winner's checkpoint in MLflow, which must be up to date with the record."""
    files = driver.files
    found, error = register_winner(driver.state, driver.record.report, driver.parent)
    if found is not None:
        driver.facts.add(
            registered={"name": found.name, "version": found.version, "uri": found.model_uri}
        )
        # What to do next depends on whether it became champion.
        driver.write_record()
        write_page(files, driver.record.report)
    else:
        console.screen().event(
            f"the winner could not be registered ({error}); its checkpoint lies in "
            f"{files.winner}; the same command tries again"
        )
    return found, error


def _closing(
    driver: Driver, params: SearchParams, registered: dict[str, Any] | None
) -> dict[str, Any]:
    """Build the result that the command prints."""
    files, facts = driver.files, driver.facts.known
    report, shown = driver.record.body, driver.record.report
    found, checkpoint = driver.search.best, facts.get("checkpoint")
    saved = None if checkpoint is None else checkpoint["out"]
    return {
        "run": driver.run_id,
        "model": params.model,
        "corpus": params.corpus,
        "sparsity": shown.sparsity,
        "goal": shown.goal,
        "passed": any(e.status == "measured" for e in driver.search.entries if not e.is_baseline),
        "ended": report["ended"],
        "dense_perplexity": report["dense_perplexity"],
        "dense_sealed_perplexity": report["dense_sealed_perplexity"],
        "best": None if found is None else found.alias,
        "reference": shown.reference_name,
        "leaderboard": [row.to_json() for row in leaderboard(shown)],
        "estimate": facts.get("estimate"),
        "spent": vars(driver.search.spent),
        "facts": [
            text
            for text in (
                authorship(shown),
                lead(shown),
                draws(shown),
                *trust(shown),
                paid(driver.search),
            )
            if text
        ],
        "given": given(shown),
        "sealed_set": None if shown.sealed_set is None else shown.sealed_set.to_json(),
        "notes": driver.notes,
        "margins": [margin.to_json() for margin in shown.margins],
        "rung_correlation": shown.rung_correlation,
        "rung_pairs": shown.rung_pairs,
        "layer_correlation": shown.layer_correlation,
        "layer_pairs": shown.layer_pairs,
        "forecasts": None if (graded := driver.search.forecasts) is None else graded.to_json(),
        "checks": [check.to_json() for check in shown.checks],
        "report": str(files.page),
        "checkpoint": saved,
        "zeros": None if checkpoint is None else checkpoint["zeros"],
        "prunable": facts.get("prunable"),
        "registered": registered,
        "tracking_uri": driver.state.tracking_place,
        "seconds": sum(facts.get("stages", {}).values()),
        "next": next_command(driver.search, driver.run_id, facts),
    }
