"""The search: which candidate comes next, what has been measured, and what it proves."""

from autoprune.search.archive import Entry
from autoprune.search.search import Search
from autoprune.search.spec import DesignerSpec, SearchBudget, SearchSpec
from autoprune.search.starts import RecipeSpec

__all__ = ["DesignerSpec", "Entry", "RecipeSpec", "Search", "SearchBudget", "SearchSpec"]
