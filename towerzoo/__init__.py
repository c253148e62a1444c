"""TowerZoo: two-tower (DSSM) recommenders assembled from registered parts.

`train` trains a config, `load` opens a run to recommend from it, `evaluate` tests it again; `BLOCKS`, `ENCODERS` and
the other registries take custom parts. Importing this package imports nothing heavy; each name loads what it needs.
"""

from pathlib import Path
from typing import Any

import lazy_loader

# In a checkout the sub-packages are folders next to this one: a checkout always runs its own code, whichever other
# TowerZoo is installed.
_checkout = Path(__file__).resolve().parents[1]
if (_checkout / "registry").is_dir():
    __path__.append(str(_checkout))

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("towerzoo")
    return _lazy(name)
