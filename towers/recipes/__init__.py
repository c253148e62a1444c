"""One function a command: train, evaluate, few shots, slices, profile."""
