from __future__ import annotations

import io

import pytest
from rich.console import Console

from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.report.comparison import (
    compare_results,
    compare_runs,
    comparison_table,
    remarks,
    threshold_problems,
)
from towerzoo.registry.errors import RunError


def test_files_are_compared_by_their_medians_and_by_the_range_that_is_left(make_record, make_result):
    comparison = compare_results(make_result(make_record(10_000.0)), make_result(make_record(20_000.0)))
    (change,) = comparison.changes
    assert (change.old, change.new, change.ratio) == (10_000.0, 20_000.0, 2.0)
    assert change.lowest == pytest.approx(18_000 / 11_000)
    assert change.highest == pytest.approx(22_000 / 9_000)
    assert change.verdict == "faster"


def test_less_seconds_are_faster(make_record, make_result):
    old, new = (make_result(make_record(value, unit="s")) for value in (2.0, 1.0))
    (change,) = compare_results(old, new).changes
    assert change.ratio == 2.0
    assert change.lowest == pytest.approx(1.8 / 1.1)
    assert change.highest == pytest.approx(2.2 / 0.9)


def test_of_pairs_the_ratios_to_the_baseline_are_compared(make_record, make_result):
    def result(value, ratio):
        pair = PairedRatio(baseline=value / ratio, ratio=ratio, lowest=ratio, highest=ratio, target=1.0)
        return make_result(make_record(value, pair=pair))

    # The machine was twice as slow, but so was the baseline.
    (change,) = compare_results(result(10_000.0, 1.5), result(5_000.0, 1.5)).changes
    assert (change.ratio, change.unit, change.verdict) == (1.0, "of baseline", "same")
    (change,) = compare_results(result(10_000.0, 2.0), result(20_000.0, 1.0)).changes
    assert (change.ratio, change.verdict) == (0.5, "slower")


def test_a_range_that_holds_1_says_nothing(make_record, make_result):
    (change,) = compare_results(make_result(make_record(10_000.0)), make_result(make_record(9_000.0))).changes
    assert change.verdict == "same"


def test_what_only_one_has_is_listed(make_record, make_result):
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
    ("changes", "told"),
    [
        ({"device": "cuda (H100)"}, r"device 'cpu \(.*\)' and 'cuda \(H100\)'"),
        ({"cpu": "another"}, r"cpu '.*' and 'another'"),
        ({"threads": 99}, r"threads \d+ and 99"),
        ({"packages": {"torch": "1.0"}}, r"torch '.*' and '1\.0'"),
        ({"data": "synthetic, 500 events"}, r"data 'movielens-1m' and 'synthetic, 500 events'"),
        ({"quick": True}, r"quick False and True"),
    ],
)
def test_what_comes_from_elsewhere_is_refused_and_by_force_marked(make_result, changes, told):
    old, new = make_result(), make_result(**changes)
    expected = (
        rf"^OLD and NEW must come from the same machine, device and versions, got {told}\. Measure both .*--force"
    )
    with pytest.raises(RunError, match=expected):
        compare_results(old, new)
    comparison = compare_results(old, new, force=True)
    assert len(comparison.differences) == 1
    assert "NOT COMPARABLE: " in shown(comparison)
    assert f"compared by force: {comparison.differences[0]}" in list(remarks(comparison, None))


def test_another_commit_or_day_may_be_compared(make_result):
    assert compare_results(make_result(), make_result(commit="abc", date="2027-01-01")).differences == []


def test_different_suites_are_refused_even_by_force(make_result):
    expected = r"^OLD and NEW must be results of one suite, got 'training' and 'towers'\. Give two files"
    with pytest.raises(RunError, match=expected):
        compare_results(make_result(), make_result(suite="towers"), force=True)


def test_where_nothing_can_be_compared_no_check_passes(make_record, make_result):
    old = make_result(make_record())
    for other in (make_record(name="another"), make_record(unit="s")):
        with pytest.raises(
            RunError, match=r"^OLD and NEW must have records in common, got 'training step \(batch_size"
        ):
            compare_results(old, make_result(other))


def test_a_measure_whose_unit_changed_is_not_compared(make_record, make_result):
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


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_is_a_ratio(threshold):
    assert threshold_problems(threshold) == [f"--threshold must be a ratio above 0, got {threshold}. Try 0.9."]
    assert threshold_problems(0.9) == threshold_problems(None) == []


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
