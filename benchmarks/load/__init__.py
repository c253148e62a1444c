"""Load on the HTTP service."""
