"""TowerZoo: two-tower (DSSM) recommenders assembled from registered parts."""
