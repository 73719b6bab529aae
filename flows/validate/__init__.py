"""A metric or program tried in the sandbox."""
