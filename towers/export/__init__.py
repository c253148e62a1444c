"""A bundle of a run that needs no TowerZoo."""
