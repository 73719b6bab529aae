"""Checks of everything that a run needs, and of the sandbox."""
