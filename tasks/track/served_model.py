"""What MLflow runs when it opens a logged checkpoint (`mlflow.pyfunc.load_model`).

MLflow copies this file into the model and executes it there, without AutoPrune: it may import only
what the model's requirements name. AutoPrune itself is needed by models that it alone opens.
"""

import math
from pathlib import Path
from typing import Any

import mlflow
import pandas
import torch
from mlflow.pyfunc import PythonModel
from transformers import AutoModelForCausalLM, AutoTokenizer

LONGEST_TEXT = 2048


class PrunedModel(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """A pruned causal language model: texts in, continuations and losses out."""

    def load_context(self, context: Any) -> None:
        """Open the checkpoint with stock transformers, or with AutoPrune if only that can."""
        folder = context.artifacts["checkpoint"]
        opened = AutoModelForCausalLM.from_pretrained
        if "layer_intermediate_sizes" in Path(folder, "config.json").read_text(encoding="utf-8"):
            try:
                from autoprune.models.widths import open_causal as opened
            except ImportError as error:
                raise ImportError(
                    f"the blocks of {folder} have MLPs of different widths, which autoprune opens; "
                    "install it with transformers"
                ) from error
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = opened(folder, dtype="auto", trust_remote_code=False).eval()

    # MLflow turns a frame with one column into the list that this hint names.
    def predict(
        self, context: Any, model_input: list[str], params: dict[str, Any] | None = None
    ) -> pandas.DataFrame:
        """Continue and score each text."""
        longest = int((params or {}).get("max_new_tokens", 32))
        rows = []
        for text in model_input:
            nll = self._nll(str(text))
            continuation = self._continue(str(text), longest) if longest > 0 else ""
            rows.append((text, continuation, nll, math.exp(min(nll, 700.0))))
        return pandas.DataFrame(rows, columns=["text", "continuation", "nll", "perplexity"])

    @torch.no_grad()
    def _nll(self, text: str) -> float:
        ids = self.tokenizer(text, return_tensors="pt").input_ids[:, :LONGEST_TEXT]
        if ids.shape[1] < 2:
            return math.nan
        return float(self.model(input_ids=ids, labels=ids).loss)

    @torch.no_grad()
    def _continue(self, text: str, longest: int) -> str:
        inputs = self.tokenizer(text, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        padding = self.tokenizer.pad_token_id
        made = self.model.generate(
            **inputs,
            max_new_tokens=longest,
            do_sample=False,
            pad_token_id=self.tokenizer.eos_token_id if padding is None else padding,
        )
        fresh = made[0, inputs["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(fresh, skip_special_tokens=True))


mlflow.models.set_model(PrunedModel())
