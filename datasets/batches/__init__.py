"""Batches of events, from memory or from a stream."""
