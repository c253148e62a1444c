"""Answers requests from finished runs over HTTP.

Nothing else in `towers` imports this package, and only this package imports the web libraries.
"""
