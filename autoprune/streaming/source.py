"""The model that a streamed prune reads, found without loading it."""

from autoprune.bench.model import ModelBench
from autoprune.errors import UsageError
from autoprune.models.reference import ModelSource
from autoprune.program_files import in_file


def streamed_source(bench: ModelBench, metric: str, statistics: str) -> ModelSource:
    """Find a bench's model, and refuse what cannot be streamed."""
    if in_file(metric):
        raise UsageError(
            f"{metric} is scored in the container from statistics of the whole dense model, and "
            "streaming never holds them; use a built-in metric or a formula, or leave out --stream"
        )
    if statistics == "dense":
        raise UsageError(
            "streaming prunes block after block; leave out --stream or --statistics dense"
        )
    source = bench.source
    if source.gguf_file is not None:
        raise UsageError(
            f"{bench.model_ref} is a GGUF file; streaming, and the estimate of --dry-run, read "
            "safetensors shards: leave out --stream and --dry-run, or save it with "
            "save_pretrained first"
        )
    return source
