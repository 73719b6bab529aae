"""Statistics of the inputs of prunable matrices, from one pass of the model over text."""
