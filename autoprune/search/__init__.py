"""The search: which candidate comes next, what has been measured, and what it proves."""
