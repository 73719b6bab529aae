"""Compact sparse checkpoints over safetensors: lossless, restored as stock model folders."""
