"""What TowerZoo is measured against: plain loops and plain loading."""
