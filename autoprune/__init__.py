"""AutoPrune: a language model finds how a language model is best pruned."""

__version__ = "0.1.0"
