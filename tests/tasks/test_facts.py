"""Facts of a search: read once, written whole at each change, in the form of earlier versions."""

import json
from pathlib import Path

from autoprune.storage import write_json
from tasks.run_files import RunFiles


def test_the_file_has_the_bytes_that_earlier_versions_wrote(tmp_path: Path) -> None:
    files, other = RunFiles(tmp_path), tmp_path / "other.json"
    # What a version before or after this one knows stays, as it is.
    before = {"commit": None, "stages": {"calibration": 1.5}, "from another version": [1]}
    write_json(files.facts, before)
    facts = files.open_facts()
    facts.add(stages={"measuring": 2.0, "calibration": 1.5}, threads=2)
    facts.add(designer="synthetic")
    write_json(
        other,
        before
        | {"stages": {"measuring": 2.0, "calibration": 1.5}, "threads": 2, "designer": "synthetic"},
    )
    assert files.facts.read_bytes() == other.read_bytes()
    # Who resumes sees them in the file's order, and so does who goes on.
    assert json.dumps(facts.known["stages"]) == json.dumps(files.read_facts()["stages"])


def test_facts_are_read_once_and_written_only_when_they_change(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    facts = files.open_facts()
    facts.add(command="autoprune search")
    earlier, made = facts.known, files.facts.stat().st_mtime_ns
    facts.add(command="autoprune search")
    assert files.facts.stat().st_mtime_ns == made
    files.facts.write_text("damaged")
    facts.add(blocks=2)
    assert files.read_facts() == {"command": "autoprune search", "blocks": 2}
    # What was taken before a change does not change with it.
    assert earlier == {"command": "autoprune search"}
