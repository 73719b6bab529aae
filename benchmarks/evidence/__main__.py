"""Check the documents, or print a record's figures: ``python -m benchmarks.evidence [ID]``."""

import sys

from benchmarks.evidence.checking import faults_of, read_figures, records_in
from benchmarks.measured import ROOT

DOCUMENTS = (
    "README.md",
    "docs/results.md",
    "docs/given-or-found.md",
    "docs/discovery.md",
    "docs/program-search.md",
    "docs/verify.md",
    "docs/judging.md",
    "docs/evaluation.md",
    "docs/corpora.md",
)


def main(words: list[str]) -> int:
    """Print what is wrong, or what a document may quote of the named records."""
    root = ROOT / "evidence"
    figures, faults = read_figures(root, words or records_in(root))
    if words:
        for figure in (figure for name in words for figure in figures.get(name, ())):
            print(f"{figure.text:>12}  {figure.name}")
    else:
        for name in DOCUMENTS:
            faults += faults_of((ROOT / name).read_text(encoding="utf-8"), name, figures)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
