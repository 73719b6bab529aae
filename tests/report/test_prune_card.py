"""A folder that `prune` saved says what it is."""

from autoprune.report.prune_card import prune_card
from tests.support.checkpoint_record import RECORD


def test_what_how_and_what_is_not_known() -> None:
    record = RECORD | {
        "metric": "wanda", "model": "owner/base", "group": "row", "allocation": "ramp",
        "solver": "mrp", "samples": 16, "seqlen": 512, "corpus": "my.txt",
    }  # fmt: skip
    card = prune_card(record, "apache-2.0")
    assert card.startswith("---\nlibrary_name: transformers")
    for words in (
        "license: apache-2.0", "600 of 1,000 prunable", "`owner/base`", "b" * 64, "wanda", "`mrp`",
        "16 windows of 512 tokens of `my.txt`, seed 3", "no faster", "nobody has measured",
    ):  # fmt: skip
        assert words in card, words
