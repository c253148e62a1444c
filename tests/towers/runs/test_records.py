from __future__ import annotations

from typing import Any

import pytest

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.records import (
    TOLERANCES,
    Comparison,
    Record,
    RecordedRun,
    compare,
    read_records,
    results_file,
    results_table,
    write_records,
)


def make_run(seed: int = 1, loss: float = 0.5, auc: float = 0.8, accuracy: float = 0.7, **changes: Any) -> RecordedRun:
    about: dict[str, Any] = {
        "epochs": 9,
        "seconds": 12.5,
        "device": "cpu (x)",
        "threads": 2,
        "torch": "2.9",
        "commit": "1234567890",
        "date": "2026-11-24",
    }
    return RecordedRun(seed=seed, test={"loss": loss, "auc": auc, "accuracy": accuracy}, **(about | changes))


def make_record(*runs: RecordedRun, **changes: Any) -> Record:
    return Record(tolerance=TOLERANCES, fingerprint="123456789012", runs=list(runs), **changes)


def test_mean_and_spread_are_those_of_the_runs():
    record = make_record(make_run(1, 0.4, 0.7, 0.6), make_run(2, 0.5, 0.8, 0.6), make_run(3, 0.6, 0.9, 0.6))
    assert record.mean == pytest.approx({"loss": 0.5, "auc": 0.8, "accuracy": 0.6})
    assert record.spread == pytest.approx({"loss": 0.1, "auc": 0.1, "accuracy": 0.0})
    assert make_record(make_run()).spread is None


@pytest.mark.parametrize(
    ("metric", "actual", "reached"),
    [
        ("loss", 0.4, True),
        ("loss", 0.59, True),
        ("loss", 0.61, False),
        ("loss", float("nan"), False),
        ("auc", 0.9, True),
        ("auc", 0.41, True),
        ("auc", 0.39, False),
    ],
)
def test_a_run_may_be_worse_by_the_tolerance_and_better_without_limit(metric, actual, reached):
    assert Comparison(metric, actual, expected=0.5, tolerance=0.1).reached is reached


def test_a_run_is_compared_with_mean_and_tolerance_of_its_record():
    record = make_record(make_run(1, 0.4, 0.7, 0.6), make_run(2, 0.6, 0.9, 0.8))
    test = {"loss": 0.51, "auc": 0.81, "accuracy": 0.7, "user_auc": 0.1}  # the last one is not recorded
    assert [
        (row.metric, row.actual, pytest.approx(row.expected), row.tolerance, row.reached)
        for row in compare({"fingerprint": "123456789012", "test": test}, record)
    ] == [
        ("loss", 0.51, 0.5, 0.004, False),
        ("auc", 0.81, 0.8, 0.002, True),
        ("accuracy", 0.7, 0.7, 0.003, True),
    ]
    with pytest.raises(RunError, match=r"^The run has protocol other, and the record 123456789012\."):
        compare({"fingerprint": "other", "test": test}, record)


def test_records_come_back(tmp_path):
    published = {"loss": 0.55, "auc": 0.8, "accuracy": 0.7}
    records = {
        "z": make_record(make_run(commit="12345e6789"), published=published),
        "a": make_record(make_run(), make_run(2)),
    }
    path = tmp_path / "results.yaml"
    write_records(records, path)
    again = read_records(path)
    assert again == records
    assert list(again) == ["z", "a"]
    assert [file.name for file in tmp_path.iterdir()] == ["results.yaml"]
    assert path.read_text().startswith("# Results of the shipped configs.")


def test_there_may_be_no_records_yet(tmp_path):
    assert read_records(tmp_path / "results.yaml") == {}
    (tmp_path / "results.yaml").write_text("# nothing yet\n")
    assert read_records(tmp_path / "results.yaml") == {}


@pytest.mark.parametrize(
    "content", [b"[1, 2]", b"text", b"a: {tolerance: 1}", b"a: [", b"\xff\xfe\xfa", b"a: 3"], ids=str
)
def test_malformed_records_are_reported(tmp_path, content):
    path = tmp_path / "results.yaml"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"results.yaml is not a file of records: .*\. Restore it from git\."):
        read_records(path)


def test_the_shipped_records_can_be_read():
    assert results_file().name == "results.yaml"
    read_records()


def test_the_table_says_where_its_figures_come_from():
    records = {
        "tanh": make_record(
            make_run(1, 0.4), make_run(2, 0.6, epochs=11, date="2026-11-26", commit="abc", device="cuda (y)")
        )
    }
    head, rule, row, _, note = results_table(records).splitlines()
    assert head == "| config | test loss | AUC | accuracy | seeds | epochs | minutes |"
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row == "| `tanh.yaml` | 0.5000 ± 0.1414 | 0.8000 ± 0.0000 | 0.7000 ± 0.0000 | 2 | 9, 11 | 0.2 |"
    assert note == (
        "Mean ± standard deviation over seeds; cpu (x), cuda (y); commit 1234567890, abc; 2026-11-24 to 2026-11-26."
    )


def test_records_of_other_metrics_have_a_table_of_their_own():
    ranked = make_run(1).model_copy(update={"test": {"recall@10": 0.3, "ndcg@10": 0.15, "coverage@10": 0.5}})
    published = {"loss": 0.55, "auc": 0.8, "accuracy": 0.7}
    records = {
        "tanh": make_record(make_run(), published=published),
        "retrieval": Record(tolerance={"recall@10": 0.01, "ndcg@10": 0.01}, fingerprint="1", runs=[ranked]),
    }
    lines = results_table(records).splitlines()
    assert lines[2].endswith("| 1 | 9 | 0.2 | 0.550 / 0.8000 / 0.7000 |")
    assert lines[4] == "| config | test Recall@10 | NDCG@10 | seeds | epochs | minutes |"
    assert lines[6] == "| `retrieval.yaml` | 0.3000 | 0.1500 | 1 | 9 | 0.2 |"
