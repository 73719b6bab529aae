"""The manual's plug-in, installed as a package: one metric, one allocator, one repair."""

import json
import re
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from autoprune.allocation import ALLOCATORS
from autoprune.metrics import METRICS
from autoprune.repair import REPAIRS
from flows.cli import main
from tests.support import forked

MANUAL = Path(__file__).parents[2] / "docs" / "writing-a-metric.md"


def test_the_manuals_plug_ins_are_found_listed_and_used(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = MANUAL.read_text(encoding="utf-8").split("## 3.")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    project = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    command = re.search(r"autoprune prune MODEL (.*) --out pruned", section)
    assert code and project and command
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "pruning.py").write_text(code[1])
    # What an installer makes of the table.
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    groups = tomllib.loads(project[1])["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in points.items())
        for group, points in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    words = ["--model", str(tiny_folder), "--corpus", str(text_file), "--calibration-windows", "4"]
    printed = tmp_path / "printed"

    def work() -> None:
        """As in a process that starts with the package installed."""
        torch.set_num_threads(1)
        monkeypatch.syspath_prepend(tmp_path)
        for registry in (METRICS, ALLOCATORS, REPAIRS):
            monkeypatch.setattr(registry, "_plugins_loaded", False)
        with printed.open("w") as file, redirect_stdout(file):
            for kind in ("metrics", "allocators", "repairs"):
                assert main(["ls", kind, "--json"]) == 0
            assert main(["prune", *words, "--seqlen", "32", *command[1].split(), "--json"]) == 0

    assert forked.ended(forked.start(work)) == 0
    records, rest, decoder = [], printed.read_text().strip(), json.JSONDecoder()
    while rest:
        found, end = decoder.raw_decode(rest)
        records, rest = [*records, found], rest[end:].strip()
    listed = {kind: [item["name"] for item in r[kind]] for r in records[:3] for kind in r}
    assert "peak" in listed["metrics"]
    assert "ends" in listed["allocators"] and "rescale" in listed["repairs"]
    made = records[3]
    assert (made["metric"], made["solver"]) == ("peak:power=0.5", "rescale")
    assert made["allocation"] == "ends:relief=0.2"
    assert made["zeros"] == round(0.6 * made["prunable"])
