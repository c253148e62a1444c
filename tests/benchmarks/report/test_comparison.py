from __future__ import annotations

import io

import pytest
from rich.console import Console

from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.report.comparison import compare_results, compare_runs, comparison_table, remarks
from towerzoo.registry.errors import RunError


def test_files_are_compared_by_their_medians_and_the_range_that_they_allow(make_record, make_result):
    comparison = compare_results(make_result(make_record(10_000.0)), make_result(make_record(20_000.0)))
    (change,) = comparison.changes
    assert (change.old, change.new, change.ratio) == (10_000.0, 20_000.0, 2.0)
    assert change.lowest == pytest.approx(18_000 / 11_000)
    assert change.highest == pytest.approx(22_000 / 9_000)
    assert change.verdict == "faster"


def test_fewer_seconds_are_faster(make_record, make_result):
    old, new = (make_result(make_record(value, unit="s")) for value in (2.0, 1.0))
    (change,) = compare_results(old, new).changes
    assert change.ratio == 2.0
    assert change.lowest == pytest.approx(1.8 / 1.1)
    assert change.highest == pytest.approx(2.2 / 0.9)


def test_records_with_a_baseline_are_compared_by_their_ratios_to_it(make_record, make_result):
    def result(value, ratio):
        pair = PairedRatio(baseline=value / ratio, ratio=ratio, lowest=ratio, highest=ratio, target=1.0)
        return make_result(make_record(value, pair=pair))

    # The machine was twice as slow, but so was the baseline.
    (change,) = compare_results(result(10_000.0, 1.5), result(5_000.0, 1.5)).changes
    assert (change.ratio, change.unit, change.verdict) == (1.0, "of baseline", "same")
    (change,) = compare_results(result(10_000.0, 2.0), result(20_000.0, 1.0)).changes
    assert (change.ratio, change.verdict) == (0.5, "slower")


def test_a_range_around_1_counts_as_the_same(make_record, make_result):
    (change,) = compare_results(make_result(make_record(10_000.0)), make_result(make_record(9_000.0))).changes
    assert change.verdict == "same"


def test_records_that_only_one_result_has_are_listed(make_record, make_result):
    old = make_result(make_record(), make_record(name="gone"))
    new = make_result(make_record(), make_record(params={"batch_size": 2048}))
    comparison = compare_results(old, new)
    assert [change.key for change in comparison.changes] == ["training step (batch_size 1024)"]
    assert comparison.only_old == ["gone (batch_size 1024)"]
    assert comparison.only_new == ["training step (batch_size 2048)"]
    assert list(remarks(comparison, None)) == [
        "only in old: gone (batch_size 1024)",
        "only in new: training step (batch_size 2048)",
        "slower: none",
    ]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"device": "cuda (H100)"}, r"device 'cpu \(.*\)' and 'cuda \(H100\)'"),
        ({"cpu": "another"}, r"cpu '.*' and 'another'"),
        ({"threads": 99}, r"threads \d+ and 99"),
        ({"packages": {"torch": "1.0"}}, r"torch '.*' and '1\.0'"),
        ({"data": "synthetic, 500 events"}, r"data 'movielens-1m' and 'synthetic, 500 events'"),
        ({"quick": True}, r"quick False and True"),
    ],
)
def test_results_of_different_origins_are_refused_or_marked(make_result, changes, difference):
    old, new = make_result(), make_result(**changes)
    expected = (
        rf"^OLD and NEW must come from the same machine, device and versions, got {difference}\. Measure both .*--force"
    )
    with pytest.raises(RunError, match=expected):
        compare_results(old, new)
    comparison = compare_results(old, new, force=True)
    assert len(comparison.differences) == 1
    assert "NOT COMPARABLE: " in shown(comparison)
    assert f"compared despite: {comparison.differences[0]}" in list(remarks(comparison, None))


def test_results_of_different_commits_and_days_are_comparable(make_result):
    assert compare_results(make_result(), make_result(commit="abc", date="2027-01-01")).differences == []


def test_different_suites_are_refused_even_by_force(make_result):
    expected = r"^OLD and NEW must be results of one suite, got 'training' and 'towers'\."
    with pytest.raises(RunError, match=expected):
        compare_results(make_result(), make_result(suite="towers"), force=True)


def test_a_comparison_without_common_records_fails(make_record, make_result):
    old = make_result(make_record())
    for other in (make_record(name="another"), make_record(unit="s")):
        with pytest.raises(RunError, match=r"^OLD and NEW have no record in common; the first are 'training step \("):
            compare_results(old, make_result(other))


def test_records_with_different_units_are_not_compared(make_record, make_result):
    old = make_result(make_record(name="a"), make_record(2.0, name="b", unit="s"))
    comparison = compare_results(old, make_result(make_record(name="a"), make_record(0.5, name="b", unit="loads/s")))
    assert [change.key for change in comparison.changes] == ["a (batch_size 1024)"]
    assert comparison.only_old == comparison.only_new == ["b (batch_size 1024)"]


def test_runs_are_compared_round_by_round(make_record, make_result):
    # The machine slows down threefold; within a round the new one is always faster.
    old = [make_result(make_record(value)) for value in (30.0, 20.0, 10.0)]
    new = [make_result(make_record(value)) for value in (33.0, 24.0, 13.0)]
    (change,) = compare_runs(old, new).changes
    assert (change.old, change.new) == (20.0, 24.0)
    assert (change.ratio, change.lowest, change.highest) == pytest.approx((1.2, 1.1, 1.3))
    assert change.verdict == "faster"


def test_what_is_below_the_threshold_is_found(make_record, make_result):
    old = make_result(make_record(10.0, name="a"), make_record(10.0, name="b"))
    new = make_result(make_record(8.9, name="a"), make_record(9.0, name="b"))
    comparison = compare_results(old, new)
    assert [change.key for change in comparison.below(0.9)] == ["a (batch_size 1024)"]
    assert "below 0.9: a (batch_size 1024), ratio 0.890" in list(remarks(comparison, 0.9))


def test_a_ratio_below_the_threshold_or_a_threshold_that_is_no_number_fails(make_record, make_result):
    comparison = compare_results(make_result(make_record(10.0)), make_result(make_record(8.9)))
    assert [comparison.below(threshold) != [] for threshold in (0.8, 0.89, 0.9, float("nan"))] == [
        False,
        False,
        True,
        True,
    ]
    assert list(remarks(comparison, 0.9))[-1] == "below 0.9: training step (batch_size 1024), ratio 0.890"


def test_the_table_starts_with_the_slowest(make_record, make_result):
    old = make_result(make_record(10.0, name="a"), make_record(10.0, name="[b]"))
    new = make_result(make_record(20.0, name="a"), make_record(5.0, name="[b]"))
    text = shown(compare_results(old, new))
    assert text.index("[b] (batch_size 1024)") < text.index("a (batch_size 1024)")
    assert "slower" in text
    assert "0.500" in text


def shown(comparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(comparison_table(comparison))
    return console.file.getvalue()
