"""The metric language: small typed formulas that score weights, safe by construction."""

from autoprune.metrics.language.ablation import Ablation, ablations, term_ablations
from autoprune.metrics.language.errors import ExpressionError
from autoprune.metrics.language.expression import Expression, parse
from autoprune.metrics.language.extension import Extension, factor_extensions
from autoprune.metrics.language.grammar import gbnf
from autoprune.metrics.language.mutation import crossover, mutate, random_expression
from autoprune.metrics.language.vocabulary import BASIC_TERMINALS, FUNCTIONS, TERMINALS, reference

__all__ = [
    "BASIC_TERMINALS",
    "FUNCTIONS",
    "TERMINALS",
    "Ablation",
    "Expression",
    "ExpressionError",
    "Extension",
    "ablations",
    "crossover",
    "factor_extensions",
    "gbnf",
    "mutate",
    "parse",
    "random_expression",
    "reference",
    "term_ablations",
]
