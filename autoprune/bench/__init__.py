"""One model on a bench: apply a recipe, measure it, restore the dense weights.

:class:`autoprune.bench.bench.Bench` serves searches, comparisons and scripts. Modules here
are cheap to import, because commands build a bench before they know whether its model will be
loaded; transformers is imported only then.
"""
