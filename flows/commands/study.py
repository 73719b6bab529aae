"""``autoprune study``: the matrix of models, schemes, ratios, suites and calibration texts."""

import argparse
from pathlib import Path
from typing import Any

from flows.output import emit

NAME = "study"
HELP = "fill a matrix: models x schemes x ratios x suites x calibration text"
DESCRIPTION = (
    "Measure every model, pruned in every way, by every suite. Every cell is a result or says why "
    "there is none. Cells are kept by digest, so the same command goes on where it stopped and a "
    "new scheme costs only its own cells. --seed goes before the file's seed. docs/evaluation.md "
    "shows a study's file."
)
EXAMPLE = "autoprune study STUDY.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", metavar="STUDY.yaml", help="the study: its matrix and settings")
    parser.set_defaults(seed=None)


def run(args: argparse.Namespace) -> int:
    """Fill the matrix and print it."""
    from flows.options import settled
    from flows.study_params import StudyParams
    from flows.study_text import study_text

    values = _read(Path(args.file).expanduser())
    said = {} if args.seed is None else {"seed": args.seed}
    params = settled(StudyParams, values | said)
    from flows.engine import open_engine

    with open_engine(args) as engine:
        from flows.study import study

        record = engine.call(study, params)
    emit(args, record, study_text(record))
    return 0


def _read(path: Path) -> dict[str, Any]:
    import yaml

    from autoprune.errors import UsageError

    if not path.is_file():
        raise UsageError(f"the study file {str(path)!r} does not exist; check the path")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not YAML ({' '.join(str(error).split())}); mend that place and run the "
            "command again"
        ) from error
    if not isinstance(values, dict):
        raise UsageError(
            f"{path} holds no mapping; write `models:`, `schemes:`, `ratios:` and more"
        )
    found = {str(key): value for key, value in values.items()}
    models = found.get("models")
    if isinstance(models, list):
        found["models"] = [{"ref": m} if isinstance(m, str) else m for m in models]
    found.setdefault("name", path.stem.lower())
    return found
