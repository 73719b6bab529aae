"""A search whose model or text was edited in place does not go on, nor give its old result."""

import json
import shutil
from pathlib import Path

import pytest

from autoprune.errors import UsageError
from flows.search import search
from flows.search.unchanged import require_same_sources
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.small_search import interrupt, small
from tests.support.tiny_subject import save_subject, tiny_subject

KNOWN = {"model_digest": "a" * 64, "parts": {"sealed": {"digest": "b" * 64, "windows": 3}}}


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({**KNOWN, "model_digest": "c" * 64}, "the model of the search 'night' has changed"),
        ({"parts": {"sealed": {"digest": "c" * 64}}}, r"the text \(sealed part\) of the search"),
    ],
)
def test_other_digests_are_refused(facts: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        require_same_sources("night", KNOWN, facts)
    # Records of earlier versions have none; a run that begins has no record.
    for known in ({"parts": {"sealed": {"windows": 3}}}, {}):
        require_same_sources("night", known, facts)
    require_same_sources("night", KNOWN, KNOWN)


def test_an_edited_text_or_model_is_refused_until_it_is_put_back(
    tiny_folder: Path, rows: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    params = small(
        model, rows, repairs="none", draws=1, candidates=2, slots=2, register_winner=False,
        run="mine",
    )  # fmt: skip
    interrupt(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        search.fn(params)
    files = RunFiles.of(State.open(), "mine")
    text, parts = rows.read_text(), files.read_facts()["parts"]
    longer = text + "".join(f"\n{json.dumps({'text': f'more words {n} ' * 40})}" for n in range(20))
    rows.write_text(longer)
    with pytest.raises(UsageError, match=r"the text \(.*\) of the search 'mine' has changed"):
        search.fn(params)
    assert files.read_facts()["parts"] == parts
    rows.write_text(text)
    whole = search.fn(params)
    # Finished: the old result is given only while it is one of this model and text.
    rows.write_text(longer)
    with pytest.raises(UsageError, match=r"the text \(.*\) of the search 'mine' has changed"):
        search.fn(params)
    rows.write_text(text)
    save_subject(tiny_subject(seed=1), model)
    with pytest.raises(UsageError, match=r"the model of the search 'mine' has changed"):
        search.fn(params)
    save_subject(tiny_subject(), model)
    assert search.fn(params)["leaderboard"] == whole["leaderboard"]
