"""What makes the figures of a suite those of another cell."""

import shutil
from pathlib import Path
from typing import Any

from tasks import compare_suites
from tasks.compare_bench import CompareBench
from tasks.state import State
from tests.support.tiny_subject import tiny_subject


def test_a_suite_is_another_by_another_dense_model_or_template(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    model, dense = (Path(shutil.copytree(tiny_folder, tmp_path / name)) for name in "md")
    names = ("lm", "reasoning")
    suites = [{"name": name, "settings": {"dense": str(dense)} if name == "lm" else {}}
              for name in names]  # fmt: skip

    def keys() -> dict[str, Any]:
        counts = {"selection": 1, "sealed": 1}
        sizes: dict[str, Any] = {"samples": 1, "seqlen": 8, "counts": counts}
        with CompareBench(
            str(model), State.open(home), corpus=str(text_file), suites=suites, **sizes
        ) as bench:
            return compare_suites.suite_keys(bench, {"method": {}})

    first = keys()
    assert keys() == first
    tiny_subject(seed=1).model.save_pretrained(dense)
    second = keys()
    assert [second[name] == first[name] for name in names] == [False, True]
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    third = keys()
    assert [third[name] == second[name] for name in names] == [False, False]
