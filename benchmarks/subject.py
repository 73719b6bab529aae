"""The model and text that benchmarks share: SmolLM2-135M as a folder, 16 x 512 tokens."""

from pathlib import Path

from benchmarks.measured import OUT, run_fresh

MODEL = OUT / "smollm2-135m"
TOKENS = OUT / "tokens.npy"
SAMPLES, SEQLEN = 16, 512


def prepare() -> tuple[Path, Path]:
    """Folder of the model and file of the tokens, made where they are missing."""
    if not (MODEL / "config.json").is_file() or not TOKENS.is_file():
        run_fresh("benchmarks.subject")
    return MODEL, TOKENS


def make() -> None:
    """Save the demo model in float32 and the first windows of the calibration split."""
    import numpy as np

    from autoprune.models.loading import load_model
    from autoprune.models.reference import DEMO_MODEL
    from autoprune.models.saving import save_model
    from autoprune.text.corpora import load_corpus
    from autoprune.text.splits import split
    from autoprune.text.windows import token_windows
    from benchmarks.measured import report

    loaded = load_model(DEMO_MODEL)
    text = split(load_corpus("wikipedia-sample")).calibration
    OUT.mkdir(parents=True, exist_ok=True)
    np.save(TOKENS, token_windows(text, loaded.tokenizer, SAMPLES, SEQLEN).numpy())
    save_model(loaded.model, loaded.tokenizer, MODEL, {})
    report()


if __name__ == "__main__":
    make()
