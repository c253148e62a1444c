"""The systems under measurement, each a file that serve.py loads in the system's own virtual environment."""
