"""Evaluation: AUC, rankings, slices, baselines, the plan and its protocol."""
