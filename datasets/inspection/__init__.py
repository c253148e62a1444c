"""Profiles tables, guesses what their columns mean, and writes a config that trains on them."""
