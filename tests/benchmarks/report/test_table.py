from __future__ import annotations

import re
from pathlib import Path

from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.measure.result_file import read_results
from towerzoo.benchmarks.report.table import markdown_tables
from towerzoo.tools.cli import marks

TOP = Path(__file__).parents[3]


def test_the_published_tables_are_those_of_the_records():
    page = (TOP / "docs" / "benchmarks.md").read_text()
    for name, table in markdown_tables(read_results([])).items():
        begin, end = marks(name)
        assert page.partition(begin)[2].partition(end)[0] == table


def test_every_published_rate_has_a_record():
    page = (TOP / "docs" / "benchmarks.md").read_text()
    (claim,) = re.findall(r"^\*\*Same model.*$", page, re.MULTILINE)
    speed = (TOP / "README.md").read_text().partition("## Speed")[2].partition("\n## ")[0]
    for rate in re.findall(r"\b\d{2,3},\d{3}\b", claim + speed):
        assert rate == "16,384" or f"| {rate} |" in page


def test_suites_have_a_table_of_ratios_and_one_of_the_best_records(make_record, make_result):
    pair = PairedRatio(baseline=5_000.0, ratio=2.0, lowest=1.8, highest=2.2, target=1.35)
    training = make_result(
        make_record(params={"batch_size": 1024}),
        make_record(30_000.0, params={"batch_size": 8192}, roofline_share=0.3, peak_memory=81_900_000),
        make_record(2.0, name="startup", params={"command": "a"}, unit="s"),
        make_record(1.0, name="startup", params={"command": "b"}, unit="s"),
        make_record(name="against a bare loop", pair=pair),
        make_record(name="against x|<y>", params={}, pair=pair.model_copy(update={"target": 3.0})),
    )
    others = [make_result(suite="towers"), make_result(suite="parts", commit="abc", quick=True)]
    lines = markdown_tables([training, *others])["benchmarks"].splitlines()
    baseline = "| 10,000 samples/s | 5,000 samples/s | 2.00 (1.80 to 2.20)"
    assert lines[2] == f"| training: against a bare loop (batch_size 1024) {baseline} | 1.35 reached |"
    assert lines[3] == f"| training: against x\\|<y> {baseline} | 3 missed |"
    assert "| training: training step | 2 | 30,000 samples/s | batch_size 8192 | 30% | 81.9 MB |" in lines
    assert "| training: startup | 2 | 1 s | b | - | - |" in lines
    first, second = lines[-2:]
    assert first.startswith("training, towers: ")
    assert first.endswith("movielens-1m; commit 0123456789; 2026-01-02.  ")
    assert second.startswith("parts: ")
    assert second.endswith("commit abc; 2026-01-02, quick.  ")


def test_peers_have_a_line_per_system_and_one_per_ratio_on_equal_terms(peers):
    tables = markdown_tables([peers])
    assert tables.keys() == {"peers"}
    *lines, origin = tables["peers"].splitlines()
    assert lines == [
        "|  | batch | layers | train, samples/s | evaluate, samples/s |",
        "| --- | --- | --- | --- | --- |",
        "| RecBole | 1,024 | 3 | 2,011 | 3,000 |",
        "| RecBole | 16,384 | 3 | 1,013 | - |",
        "| TowerZoo, same model | 1,024 | 3 | 4,022 | 9,000 |",
        "",
        "| on equal terms | batch | against | TowerZoo | peer | ratio (lowest to highest) |",
        "| --- | --- | --- | --- | --- | --- |",
        "| train | 1,024 | RecBole | 4,022 samples/s | 2,011 samples/s | 2.00 (1.90 to 2.10) |",
        "",
    ]
    assert origin.startswith("peers: ")


def test_the_time_to_an_auc_has_a_column_per_batch_size_and_the_best(make_record, make_result):
    def record(value, batch_size, reached=True):
        params = {"system": "RecBole", "batch_size": batch_size, "auc": 0.78, "bound": 600.0}
        name, unit = ("time to AUC", "s") if reached else ("best AUC", "AUC")
        return make_record(value, suite="peers_auc", name=name, params=params, unit=unit)

    result = make_result(
        record(90.0, 4096), record(0.75, 16_384, reached=False), record(120.0, 1024), suite="peers_auc"
    )
    lines = markdown_tables([result])["peers"].splitlines()
    assert lines[0] == "| time to a validation AUC of 0.78 | batch 1,024 | batch 4,096 | batch 16,384 | best |"
    assert lines[2] == "| RecBole | 120 s | 90 s | (AUC 0.7500 in 600 s) | 90 s |"
