"""One model on a bench: put a recipe on it, measure, take it off.

:class:`autoprune.bench.bench.Bench` serves searches, comparisons and scripts. Modules here
are cheap to import: commands build a bench before they know whether its model will ever be loaded,
so transformers is imported when it is.
"""
