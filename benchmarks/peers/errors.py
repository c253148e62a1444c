"""What goes wrong with one system, while the others go on."""

from __future__ import annotations

from towerzoo.registry.errors import TowerZooError


class PeerError(TowerZooError):
    """A system that is not installed, dies or answers what cannot be read."""
