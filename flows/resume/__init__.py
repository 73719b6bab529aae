"""A search that was interrupted, continued."""
