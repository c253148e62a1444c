"""Takes measurements of several systems in turn, A B C A B C, so that the machine's drift meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from towerzoo.registry.errors import PeerError


def in_turn(
    runs: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    warm_up: bool = True,
    failed: Callable[[str, PeerError], None],
) -> dict[str, list[float]]:
    """Runs each system once a round; only one computes at a time.

    Args:
        runs: Measures a system once.
        rounds: Rounds that count.
        warm_up: Whether a round goes before them that does not.
        failed: Is told of a system that fails; it is left out from then on, with what it measured before.

    Returns:
        The values (rounds,) of each system that did not fail.

    Example:
        >>> in_turn({"a": lambda: 6.0, "b": lambda: 2.0}, rounds=2, failed=print)
        {'a': [6.0, 6.0], 'b': [2.0, 2.0]}
    """
    values: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + warm_up):
        for name in list(values):
            try:
                value = runs[name]()
            except PeerError as error:
                del values[name]
                failed(name, error)
                continue
            if turn >= warm_up:
                values[name].append(value)
    return values
