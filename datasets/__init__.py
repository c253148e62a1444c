"""Turns raw files into a star schema of tensors, splits it, and yields batches. Knows no model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
