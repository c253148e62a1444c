"""What a model is evaluated by: AUC, rankings, slices, baselines, the plan and its protocol."""
