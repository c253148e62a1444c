"""TowerZoo, its peers and the original script side by side, in one run on the same data."""
