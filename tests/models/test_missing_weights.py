"""A checkpoint that lacks weights is refused: transformers would fill them in at random."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from autoprune.errors import DamagedFileError
from autoprune.models.loading import load_model
from tests.support.exportable import saved


def without(folder: Path, part: str) -> None:
    """Remove the tensors whose names contain ``part`` from a folder's weights."""
    file = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if part not in name}
    save_file(kept, file, metadata={"format": "pt"})


@pytest.mark.parametrize("widths", [(), (96, 64)], ids=["stock", "widths by block"])
@pytest.mark.parametrize(
    ("part", "shown"),
    [("lm_head", r"\(lm_head\.weight\)"), ("layers.1.", r"\(model\.layers\.1\..* and 8 more\)")],
)
def test_missing_weights_are_an_error(
    tmp_path: Path, widths: tuple[int, ...], part: str, shown: str
) -> None:
    folder = saved(tmp_path / "model", widths=widths)
    load_model(str(folder))
    without(folder, part)
    with pytest.raises(DamagedFileError, match=f"lacks weights .*{shown}"):
        load_model(str(folder))


def test_a_head_that_is_the_embedding_is_not_missing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", tie_word_embeddings=True)
    assert not any("lm_head" in name for name in load_file(folder / "model.safetensors"))
    load_model(str(folder))
