"""The star schema of users, items and events, its encoding and its cache."""
