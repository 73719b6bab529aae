"""The notebook of the documentation runs from its first cell to its last, without network."""

import json
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def test_every_cell_runs_and_shows_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise OSError("the notebook asks for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    # Figures of one machine would be stale in the file.
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    shown = capsys.readouterr().out
    assert "60.00% of the prunable weights are zero" in shown
    assert names["made"].saved.zeros.zeros == names["made"].zeros
    assert len(names["rows"]) == 4 and all(0.5 < ratio < 2.0 for ratio in names["rows"].values())
    assert abs(names["smaller"].share - 0.3) < 0.01
    assert Path(names["FOLDER"]).parent == tmp_path
