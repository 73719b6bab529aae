"""Models whose blocks have MLPs of different widths, which no stock configuration expresses.

The configuration then states the largest width as usual, so that stock transformers refuses the
files for their shapes, and under :data:`WIDTHS` that of each block, for :func:`open_causal`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from autoprune.errors import DamagedFileError
from autoprune.models.structure import find_blocks

# Has "layer" in its name: lists of this kind are cut where blocks are removed.
WIDTHS = "layer_intermediate_sizes"
MLP = ("gate_proj", "up_proj", "down_proj")


def widths_of(config: PretrainedConfig) -> Sequence[int]:
    """The width of each block's MLP where they differ; empty for a stock model."""
    found: Sequence[int] = getattr(config.get_text_config(decoder=True), WIDTHS, ())
    return found


def opened_by(config: PretrainedConfig) -> dict[str, str]:
    """What a record says of a model that stock transformers does not open; nothing of others."""
    return {"opened_by": "autoprune"} if widths_of(config) else {}


def narrow_blocks(model: PreTrainedModel) -> None:
    """Give the MLPs of a model built from a configuration the widths that it states, in place."""
    widths = widths_of(model.config)
    if not widths:
        return
    for block, width in zip(find_blocks(model), widths, strict=True):
        for module in block.modules():
            if not isinstance(getattr(module, MLP[0], None), nn.Linear):
                continue
            for name in MLP:
                linear: Any = module.get_submodule(name)
                rows, columns = linear.weight.shape
                inputs, outputs = (width, rows) if name == MLP[-1] else (columns, width)
                like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
                setattr(module, name, nn.Linear(inputs, outputs, linear.bias is not None, **like))


def open_causal(folder: Path | str, **options: Any) -> PreTrainedModel:
    """``AutoModelForCausalLM.from_pretrained``, also of a folder that states widths."""
    path = Path(folder) / "config.json"
    stated = path.is_file() and WIDTHS in path.read_text(encoding="utf-8")
    if not stated or "gguf_file" in options:
        return _complete(AutoModelForCausalLM, folder, options)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    stock: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]

    def build(model: Any, config: Any, *more: Any, **others: Any) -> None:
        stock.__init__(model, config, *more, **others)
        narrow_blocks(model)

    # For the time of loading; under its own name, since transformers looks at name and module.
    names = {"__init__": build, "__module__": stock.__module__}
    narrow: Any = type(stock.__name__, (stock,), names)
    model = _complete(narrow, folder, options)
    model.__class__ = stock
    return model


def _complete(kind: Any, folder: Path | str, options: dict[str, Any]) -> PreTrainedModel:
    """Open a checkpoint that holds every weight; transformers fills in the others at random."""
    model: PreTrainedModel
    model, found = kind.from_pretrained(folder, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DamagedFileError(
            f"{folder} lacks weights of the model that its config.json describes ({missing[0]}"
            f"{more}), and random numbers would take their place; get the checkpoint again, or "
            "correct config.json"
        )
    return model
