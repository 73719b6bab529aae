"""The work of a search, from its form to its report."""
