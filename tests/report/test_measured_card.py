"""Sections of a model card that evaluations write."""

from autoprune.report.measured_card import HEADING, with_sections

CARD = "---\nlicense: mit\n---\n\n# A model\n\nIts text.\n"


def test_a_suite_replaces_its_own_section_and_leaves_all_else() -> None:
    first = with_sections(CARD, {"lm": "30.1", "cost": "12 tokens"})
    assert first.startswith(CARD) and first.count(HEADING) == 1
    assert with_sections(first, {}) == first
    second = with_sections(first, {"lm": "29.9"})
    assert second == first.replace("30.1", "29.9")
    third = with_sections(second, {"last-word": "44 %"})
    assert third.startswith(second.rstrip("\n")) and third.count(HEADING) == 1
    assert third.index("12 tokens") < third.index("44 %")


def test_text_that_was_added_by_hand_stays() -> None:
    card = with_sections(CARD, {"lm": "30.1"}) + "\n## My notes\n\nKeep this.\n"
    found = with_sections(card, {"lm": "29.9"})
    assert "## My notes\n\nKeep this." in found and "30.1" not in found
    assert found.index("Keep this.") < found.index(HEADING) < found.index("29.9")


def test_a_model_without_a_card_gets_one() -> None:
    assert with_sections("", {"lm": "30.1"}).startswith(HEADING)
