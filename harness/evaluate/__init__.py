"""Evaluation: features of a split, ranking, metrics."""
