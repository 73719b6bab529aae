"""Two hundred threads of a forum with planted faults, and a stand-in for the model that reads them.

What is planted stands as a mark in the post, so the stand-in knows what to answer; the pipeline
does not read marks.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

BENCHMARK = (
    "Nine brave otters carried seventeen heavy golden boxes across one very wide frozen river"
)
# How many threads of each kind.
PLANTED = {
    "good": 24, "majority": 10, "young": 25, "month": 5, "lonely": 15, "chatter": 15,
    "unsolved": 10, "disagree": 15, "boxless": 10, "tie": 5, "link": 10, "ten": 8, "nine": 7,
    "eight": 4, "seven": 4, "theorem": 4, "drawing": 4, "dateless": 5, "copy": 20,
}  # fmt: skip


def write_forum(path: Path) -> Path:
    """Write the threads, the copies of good ones last."""
    rows: list[dict[str, Any]] = []
    for kind, count in PLANTED.items():
        for index in range(count):
            rows.append(_row(kind, index, len(rows)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(kind: str, index: int, number: int) -> dict[str, Any]:
    extra = {"link": "see https://example.org", "theorem": "Prove it.",
             "drawing": "It is in the figure."}.get(kind, _shared(kind))  # fmt: skip
    post = f"[{kind} {number}] Find half of {number}. {extra}"
    if kind == "copy":
        post = f"  (GOOD {index}): find HALF of {index}!"
    replies = {"lonely": 0, "majority": 3, "tie": 2}.get(kind, 1)
    row: dict[str, Any] = {
        "id": number,
        "posts": [{"text": post}, *(f"reply {n} of {number}" for n in range(replies))],
    }
    dates = {"young": "2024-02-03", "month": "2023-12", "dateless": None}
    return row | {"date": dates.get(kind, "2023-06-01")}


def _shared(kind: str) -> str:
    """Words in a row that a thread of this kind has in common with the benchmark."""
    count = {"ten": 10, "nine": 9, "eight": 8, "seven": 7}.get(kind, 0)
    return " ".join(BENCHMARK.split()[:count])


def model_of_forum(text: str, temperature: float, seed: int) -> str:
    """What the stand-in answers."""
    found = re.search(r"\[(\w+) (\d+)\]", text)
    assert found is not None, text
    kind, number = found[1], int(found[2])
    if "Write 1 for yes" in text:
        return "<think>1 or 0?</think>0" if kind == "chatter" else "1"
    if "Which replies solve" in text:
        return "ANSWERS: none" if kind == "unsolved" else "ANSWERS: 1, 2, 3, 9"
    reply = int(re.search(r"reply (\d) of", text)[1])  # type: ignore[index]
    value = 2 * number + 1 if (kind, reply) in {("majority", 0), ("tie", 1)} else number
    # The two samples write the same number in two ways.
    box = rf"\frac{{{value}}}{{2}}" if seed == 0 else f"{value / 2}"
    if kind == "disagree" and seed == 1:
        box = str(number)
    shown = f"so it is {box}" if kind == "boxless" else rf"so it is \boxed{{{box}}}"
    # What shares ten words is never asked about.
    question = f"[{kind} {number}] What is half of {number}? {_shared(kind)}"
    return f"Question: {question}\nSolution: Halve it, {shown}."


class Counting:
    """The stand-in behind a count of calls, which stops the program at one of them.

    Args:
        stop_at: The call that does not come back; None: all do.
        answer: The stand-in.
    """

    def __init__(
        self, stop_at: int | None = None, answer: Callable[[str, float, int], str] = model_of_forum
    ) -> None:
        self.calls, self._stop_at, self._answer = 0, stop_at, answer

    def __call__(self, prompt: str, temperature: float, seed: int) -> str:
        """Count the call and answer it."""
        if self.calls == self._stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        return self._answer(prompt, temperature, seed)
