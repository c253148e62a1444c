"""The commands: each parses, loads, calls one function and prints. Nothing imports this package."""
