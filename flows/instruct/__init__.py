"""Training sets and dated test sets from forum threads."""
