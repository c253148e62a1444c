"""Workers: a file per system, which serve.py loads in the system's virtual environment."""
