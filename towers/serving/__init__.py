"""Answers requests from a loaded run over HTTP.

The top floor of `towers`: nothing of `towers` outside this folder imports it, and it alone imports the web libraries.
"""
