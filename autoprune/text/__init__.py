"""Text to calibrate and measure on: corpora, three-way split, token windows, overlap, text seen."""
