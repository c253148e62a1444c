"""Looks at own tables, and writes a config that trains on them."""
