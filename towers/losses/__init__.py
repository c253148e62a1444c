"""Losses of pairs and of candidates, and the samplers that draw candidates."""
