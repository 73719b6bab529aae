"""Agents as designers: a Model Context Protocol server over runs and their questions."""
