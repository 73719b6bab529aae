"""Whether the registry holds what a promotion is about."""

from tasks import track
from tasks.state import State


def require_model(state: State, name: str | None, *, rollback: bool) -> None:
    """Check that the registry has the model of a promotion or a rollback."""
    alias = track.aliases.PREVIOUS if rollback else track.aliases.CHALLENGER
    track.registry.choose_model(track.Tracker(state), name, alias)
