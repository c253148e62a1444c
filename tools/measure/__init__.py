"""Commands for measuring TowerZoo itself: benchmark suites, records of results, gradients of samplers."""
