"""Causal language models: find, load, take apart into blocks and linears, save.

Shapes: ``o`` output features, ``i`` input features, ``b`` batch, ``s`` sequence, ``d`` hidden size.
"""
