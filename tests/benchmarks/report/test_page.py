from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from towerzoo.benchmarks.measure.record import PairedRatio, Record
from towerzoo.benchmarks.measure.summary import curves, quantity, scaled
from towerzoo.benchmarks.report.page import render_report
from towerzoo.benchmarks.report.plots import ratio_bars
from towerzoo.benchmarks.report.table import markdown_table


@pytest.fixture(scope="module")
def results(make_record, make_result):
    pair = PairedRatio(baseline=5_000.0, ratio=2.0, lowest=1.8, highest=2.2, target=1.35)
    missed = pair.model_copy(update={"target": 3.0})
    training = make_result(
        *(
            make_record(
                1e4 * factor,
                params={"batch_size": size, "precision": precision},
                flops=2.16e6,
                roofline_share=0.1 * factor,
                peak_memory=size * 10_000,
            )
            for size, factor in ((1024, 1), (8192, 3))
            for precision in ("float32", "bf16")
        ),
        make_record(name="against a bare loop", pair=pair),
        make_record(name="against $x|<y>", params={}, pair=missed),
        make_record(name="profile", params={}, unit="s", breakdown={"dropout": 0.012, "matrix products": 0.013}),
    )
    growth = make_result(
        *(make_record(params={"rows": rows}, suite="scaling", peak_memory=rows) for rows in (10**6, 10**7, 10**8)),
        make_record(params={"catalogue": 4_000}, suite="scaling", unit="users/s", name="top-k"),
        make_record(params={"catalogue": 100_000}, suite="scaling", unit="users/s", name="top-k"),
        suite="scaling",
        roofline=None,
        quick=True,
    )
    return [training, growth]


@pytest.fixture(scope="module")
def page(results):
    return render_report(results)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]


def pictures(page):
    prefix = "data:image/svg+xml;base64,"
    parser = Links()
    parser.feed(page)
    assert all(link.startswith(prefix) for link in parser.links)
    return [base64.b64decode(link.removeprefix(prefix)).decode() for link in parser.links]


def test_the_page_needs_nothing_else_and_its_pictures_are_whole(page, results):
    parser = Links()
    parser.feed(page)
    assert "script" not in parser.tags
    assert len(parser.links) == parser.tags.count("img")
    drawn = pictures(page)
    for picture in drawn:
        assert ElementTree.fromstring(picture).tag.endswith("svg")
    titles = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    label = results[0].file_name.removesuffix(".json")
    assert titles[0] == "Paired ratios"
    assert titles[-1] == "Time of a step"
    assert f"{label}: training step" in titles
    assert f"{label}: training step over batch size" in titles
    assert {title.partition(" over ")[2] for title in titles} >= {"rows", "catalogue", "batch size"}
    assert any("30% of the roofline" in picture for picture in drawn)
    assert any("peak memory above the start" in picture for picture in drawn)
    assert "matrix products" in drawn[-1]


def test_the_page_says_what_every_figure_needs(page, results):
    for text in ("0123456789", "2026-01-02", "movielens-1m", "177 GFLOP/s", "(quick)", "1.35 reached", "3 missed"):
        assert text in page
    assert "against $x|&lt;y&gt;" in page
    for result in results:
        for record in result.records:
            assert quantity(record.value, record.unit) in page


def test_equal_results_give_equal_pages(page, results):
    assert render_report(results) == page


def test_ratios_beside_long_labels_have_an_axis_that_can_be_read(make_record):
    def record(ratio: float):
        spread = {"lowest": 0.9 * ratio, "highest": 1.1 * ratio}
        return make_record(pair=PairedRatio(baseline=1.0, ratio=ratio, target=1.0, **spread))

    picture = ratio_bars({f"{'a long label ' * 10}{ratio}": record(ratio) for ratio in (0.8, 3.0, 110.0)})
    numbers = [float(text) for text in re.findall(r">([\d.,]+)</text>", picture)]
    assert {1, 2, 5, 10, 100} <= set(numbers)
    assert all(f"{number:e}"[0] in "125" for number in numbers)
    assert float(re.search(r'width="([\d.]+)pt"', picture)[1]) > 14 * 72


def test_two_results_of_one_name_are_told_apart(make_record, make_result):
    def result(value: float, commit: str):
        pair = PairedRatio(baseline=value / 2, ratio=2.0, lowest=1.8, highest=2.2, target=1.0)
        return make_result(make_record(value, pair=pair), commit=commit)

    page = render_report([result(100.0, "before"), result(300.0, "after")])
    pairs, figures = page.partition("<h2>Throughput")[0], re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert "100 samples/s" in pairs
    assert "300 samples/s" in pairs
    assert len(set(figures)) == len(figures) == 3
    assert [text in page for text in ("#1</td>", "#2</td>", "#3")] == [True, True, False]


def test_a_result_that_tells_no_version_is_shown(make_result):
    assert "<td>-</td>" in render_report([make_result(packages={})])


def test_a_single_plain_record_is_enough(make_record, make_result):
    page = render_report([make_result(make_record(params={}, unit="s"))])
    assert "Paired ratios" not in page
    assert "Growth" not in page
    assert "10,000 s" in page


def test_curves_are_of_records_that_differ_in_the_axis_alone(results):
    found = curves(results[0].records)
    assert [(curve.axis, curve.label, len(curve.records)) for curve in found] == [
        ("batch_size", "float32", 2),
        ("batch_size", "bf16", 2),
    ]


def test_the_table_has_the_pairs_and_the_best_of_each_measurement(results):
    lines = markdown_table(results).splitlines()
    assert "| training: against a bare loop (batch_size 1024) | 10,000 samples/s | 5,000 samples/s |" in lines[2]
    assert lines[2].endswith("| 2.00 (1.80 to 2.20) | 1.35 reached |")
    assert lines[3].startswith("| training: against $x\\|<y> |")
    assert lines[3].endswith("| 3 missed |")
    best = "| training: training step | 4 | 30,000 samples/s | batch_size 8192, float32 | 30% | 81.9 MB |"
    assert best in lines
    assert "| scaling: top-k | 2 | 10,000 users/s | catalogue 4000 | - | - |" in lines
    assert lines[-2].startswith(f"training: {results[0].origin.device}, {results[0].origin.cores} cores, ")
    assert lines[-2].endswith("movielens-1m; commit 0123456789; 2026-01-02.  ")
    assert lines[-1].startswith("scaling: ")
    assert lines[-1].endswith("2026-01-02, quick.  ")


def test_suites_of_one_origin_share_its_line(make_result):
    lines = markdown_table([make_result(), make_result(suite="towers"), make_result(suite="parts", commit="abc")])
    training, parts = lines.splitlines()[-2:]
    assert training.startswith("training, towers: ")
    assert "commit 0123456789" in training
    assert parts.startswith("parts: ")
    assert "commit abc" in parts


@pytest.fixture(scope="module")
def side_by_side(make_record, make_result):
    """A result of ours against a and b in training, and against a in test."""

    def against(name: str, other: str, value: float, target: float) -> Record:
        pair = PairedRatio(baseline=value / len(other), ratio=2.0, lowest=1.9, highest=2.1, target=target)
        params = {"system": "ours", "baseline": f"against {other}"}
        return make_record(value, name=name, unit="rows/s", params=params, pair=pair)

    return make_result(
        against("train", "aa", 4000.0, 1.0), against("train", "bbbb", 4000.0, 8.0), against("test", "aa", 6000.0, 1.0)
    )


def test_systems_side_by_side_get_a_line_each_and_only_ratios_with_a_target_of_their_own(side_by_side):
    text = markdown_table([side_by_side])
    assert text.count("against") == 1
    assert "train (ours, against bbbb)" in text
    table = ["| side by side | train, rows/s | test, rows/s |", "|---|---|---|", "| ours | 4,000 | 6,000 |"]
    assert "\n".join([*table, "| aa | 2,000 | 3,000 |", "| bbbb | 1,000 | - |"]) in text
    assert "best of" not in text


def test_systems_side_by_side_get_a_bar_each_with_their_own_rate(side_by_side):
    page = render_report([side_by_side])
    assert "<h2>Throughput" not in page
    train, test = pictures(page.partition("<h2>Paired")[0])
    texts = re.findall(r">([^<>]+)</text>", train)
    assert [texts.count(text) for text in ("ours", "aa", "bbbb", "TowerZoo", "others")] == [1] * 5
    assert all(rate in texts for rate in ("4,000", "2,000", "1,000"))
    assert "bbbb" not in test


def test_of_seconds_the_least_are_best(make_record, make_result):
    records = [make_record(value, params={"command": command}, unit="s") for command, value in (("a", 2.0), ("b", 1.0))]
    assert "| training: training step | 2 | 1 s | b | - | - |" in markdown_table([make_result(*records)])


def test_quantities_are_readable():
    assert [quantity(value, "s") for value in (0.000123456, 1.0, 999.4, 123_456.7)] == [
        "0.000123 s",
        "1 s",
        "999 s",
        "123,457 s",
    ]
    assert [scaled(value, "B") for value in (0, 999, 1_500, 2e6, 3e9, 4e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2 MB",
        "3 GB",
        "4 TB",
    ]
