"""A model as a GGUF file, or on a hub."""
