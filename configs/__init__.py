"""The shipped configs, found through importlib.resources."""
