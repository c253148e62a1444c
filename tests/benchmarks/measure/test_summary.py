from __future__ import annotations

from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.measure.summary import quantity, scaled, summary_lines


def test_a_line_shows_a_whole_record_and_those_with_a_baseline_come_last(make_record):
    more = {"params": {}, "roofline_share": 0.25, "peak_memory": 3_500_000}
    pair = PairedRatio(baseline=10.0, ratio=2.0, lowest=1.5, highest=2.5, target=1.35)
    records = [
        make_record(20.0, name="paired", **more, pair=pair),
        make_record(20.0, name="alone", **more),
        make_record(20.0, name="bare", params={}),
    ]
    shown = ", 25% of the roofline, 3.5 MB more memory"
    assert [line.partition(": ")[2] for line in summary_lines(records)] == [
        f"alone: 20 samples/s (18 samples/s to 22 samples/s){shown}",
        "bare: 20 samples/s (18 samples/s to 22 samples/s)",
        f"paired: 20 samples/s against 10 samples/s, ratio 2.00 (1.50 to 2.50), target 1.35 reached{shown}",
    ]


def test_quantities_are_readable():
    seconds = {0.000123456: "0.000123 s", 1.0: "1 s", 999.4: "999 s", 123_456.7: "123,457 s"}
    assert {value: quantity(value, "s") for value in seconds} == seconds
    sizes = {0: "0 B", 999: "999 B", 1_500: "1.5 kB", 2e6: "2 MB", 3e9: "3 GB", 4e12: "4 TB"}
    assert {value: scaled(value, "B") for value in sizes} == sizes
