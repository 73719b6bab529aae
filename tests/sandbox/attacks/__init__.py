"""Hostile candidates, as data. They run only inside the container."""
