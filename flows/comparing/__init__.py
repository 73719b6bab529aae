"""What a comparison does with its cells, and its table on a terminal."""
