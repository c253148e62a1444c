"""TowerZoo: two-tower (DSSM) recommenders assembled from registered parts."""

from pathlib import Path

# In a checkout the sub-packages are folders beside this one: a checkout always runs its own code, whichever other
# TowerZoo is installed.
_checkout = Path(__file__).resolve().parents[1]
if (_checkout / "registry").is_dir():
    __path__.append(str(_checkout))
