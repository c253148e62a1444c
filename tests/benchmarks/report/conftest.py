import pytest

from towerzoo.benchmarks.measure.record import PairedRatio


@pytest.fixture(scope="session")
def peers(make_record, make_result):
    """A result of TowerZoo and RecBole at one batch size, and of RecBole's training at another."""

    def record(name, value, system, batch_size=1024, **more):
        params = {"system": system, "batch_size": batch_size, "layers": 3}
        return make_record(value, suite="peers", name=name, params=params | more.pop("params", {}), **more)

    pair = PairedRatio(baseline=2_011.0, ratio=2.0, lowest=1.9, highest=2.1, target=1.0)
    return make_result(
        record("train", 2_011.0, "RecBole"),
        record("train", 4_022.0, "TowerZoo, same model"),
        record("train", 1_013.0, "RecBole", 16_384),
        record("train", 4_022.0, "TowerZoo, same model", params={"baseline": "RecBole"}, pair=pair),
        record("evaluate", 3_000.0, "RecBole"),
        record("evaluate", 9_000.0, "TowerZoo, same model"),
        suite="peers",
    )
