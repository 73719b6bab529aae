"""The model card of a compact folder: how to open it; the dense folder's card is kept with it."""

from pathlib import Path

CARD = "README.md"
# It says how the dense folder is opened, which is right there only.
DENSE_CARD = "README.dense.md"
_TEXT = """\
---
tags:
- pruned
- autoprune
---

# A pruned model without its zeros

This folder stores a model, and `from_pretrained` does not open it: the weights are kept without
their zeros ({encoding}), equal to the bit. Turn it back into the dense folder:

```
autoprune compact THIS_FOLDER DENSE_FOLDER
```

and open that {how}. In Python, without the command:

```python
from pathlib import Path

from autoprune.checkpoint.compact import expand_compact

expand_compact(Path("THIS_FOLDER"), Path("DENSE_FOLDER"))
```
"""
_STOCK = 'with `AutoModelForCausalLM.from_pretrained("DENSE_FOLDER")`'
# A model whose blocks differ in width is opened by AutoPrune alone; its own card says so.
_AS_ITS_CARD_SAYS = f"as [its card]({DENSE_CARD}) says"
_SEE_DENSE = f"""
What the model is, how it was made and its licence: [{DENSE_CARD}]({DENSE_CARD}).
"""


def replace_card(folder: Path, encoding: str) -> bool:
    """Set the dense folder's card aside and write one that says how to open this folder."""
    card, dense = folder / CARD, folder / DENSE_CARD
    if dense.exists():
        return False
    kept = card.is_file()
    if kept:
        card.rename(dense)
    text = _TEXT.format(encoding=encoding, how=_AS_ITS_CARD_SAYS if kept else _STOCK)
    card.write_text(text + (_SEE_DENSE if kept else ""), encoding="utf-8")
    return True


def restore_card(folder: Path) -> None:
    """Undo :func:`replace_card` in a folder that is being expanded."""
    (folder / CARD).unlink(missing_ok=True)
    if (folder / DENSE_CARD).is_file():
        (folder / DENSE_CARD).rename(folder / CARD)
