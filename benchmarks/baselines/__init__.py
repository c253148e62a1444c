"""Baselines: a plain training loop and plain loading."""
