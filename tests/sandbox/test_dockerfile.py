"""The Dockerfile's own packages come each from one index."""

import re
import subprocess
from pathlib import Path

from sandbox.image import _dockerfile, _requirements


def test_torch_comes_from_its_index_and_all_else_from_the_usual_one(tmp_path: Path) -> None:
    text = _dockerfile().read_text()
    (run,) = re.findall(r"^RUN (grep .+?done) \\$", text, re.MULTILINE | re.DOTALL)
    run = re.sub(r"(?<=[ >])/(\w+\.txt)", rf"{tmp_path}/\1", run).replace("\\\n", " ")
    (tmp_path / "requirements.txt").write_text(_requirements())
    asked = tmp_path / "asked"
    fake = tmp_path / "python3"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    fake.chmod(0o755)
    there = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TORCH_INDEX": "https://torch.example/cpu"}
    subprocess.run(["sh", "-c", run], env=there, check=True, timeout=60)
    first, second = asked.read_text().splitlines()
    assert "--index-url https://torch.example/cpu" in first and first.endswith("torch.txt")
    assert "index-url" not in second and "--no-deps" in second and second.endswith("others.txt")
    assert (tmp_path / "torch.txt").read_text().startswith("torch==")
    others = (tmp_path / "others.txt").read_text()
    assert "numpy==" in others and "torch==" not in others
