"""Values of systems, round by round, as records: each of TowerZoo's against each of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from towerzoo.benchmarks.measure.record import PairedRatio, Record

SUITE = "peers"
FASTEST_RECIPE = "fast"
"""The config that was made to train fast; what is only asked of it is not asked of others."""
TARGETS: Mapping[tuple[str, str], float] = {("prepare", "original"): 10.0, ("evaluate", "recbole"): 12.0}
TARGETS_OF_FASTEST: Mapping[tuple[str, str], float] = {
    ("train", "recbole"): 8.0,
    ("train", "original"): 20.0,
    ("time to AUC", "original"): 20.0,
}
"""What the ratio should reach, by measure and baseline; elsewhere 1."""


def compare(
    measure: str, values: Mapping[str, Sequence[float]], ours: Sequence[str], *, unit: str, **params: int | float
) -> Iterator[Record]:
    """Returns a record of each of TowerZoo's systems against each other system.

    Args:
        measure: What was measured.
        values: Rates (rounds,) of each system; the values of a round were taken one after the other.
        ours: The names of TowerZoo's systems.
        unit: Unit of the rates.
        params: What all systems had alike, such as `threads`.
    """
    for name in (name for name in ours if name in values):
        for baseline in (other for other in values if other not in ours):
            targets = {**TARGETS, **(TARGETS_OF_FASTEST if name.split()[0] == FASTEST_RECIPE else {})}
            target = targets.get((measure, baseline), 1.0)
            yield Record.of(
                values[name],
                suite=SUITE,
                name=measure,
                params={"system": name, "baseline": f"against {baseline}", **params},
                unit=unit,
                pair=PairedRatio.of(values[name], values[baseline], target=target),
            )
