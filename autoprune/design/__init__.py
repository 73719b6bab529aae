"""The designer, an LLM that reasons over a graph of measured facts (GCoT)."""
