"""Turns a star schema and a checked config into a DSSM, its metrics and saved runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
