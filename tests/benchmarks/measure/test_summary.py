from __future__ import annotations

from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.measure.summary import summary_lines


def test_a_line_tells_all_that_a_record_holds_and_those_with_a_baseline_come_last(make_record):
    measured = {"value": 20.0, "lowest": 19.0, "highest": 22.5, "roofline_share": 0.25, "peak_memory": 3_500_000}
    pair = PairedRatio(baseline=10.0, ratio=2.0, lowest=1.5, highest=2.5, target=1.35)
    lines = list(
        summary_lines(
            [
                make_record(name="paired", params={}, **measured, pair=pair),
                make_record(name="alone", params={}, **measured),
                make_record(name="bare", params={}, **{**measured, "roofline_share": None, "peak_memory": None}),
            ]
        )
    )
    more = ", 25% of the roofline, 3.5 MB more memory"
    assert [line.partition(": ")[2] for line in lines] == [
        f"alone: 20 samples/s (19 samples/s to 22.5 samples/s){more}",
        "bare: 20 samples/s (19 samples/s to 22.5 samples/s)",
        f"paired: 20 samples/s against 10 samples/s, ratio 2.00 (1.50 to 2.50), target 1.35 reached{more}",
    ]
