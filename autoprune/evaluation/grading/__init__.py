"""Strict grading of mathematical answers; answers are hostile text and are never evaluated."""
