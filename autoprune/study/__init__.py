"""The study of From LLMs to LRMs (arXiv 2601.18091): which cells its matrix has."""
