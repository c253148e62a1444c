from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest

from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.measure.summary import curves, quantity
from towerzoo.benchmarks.report.page import render_report
from towerzoo.benchmarks.report.plots import ratio_bars


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


def pictures(page):
    prefix = "data:image/svg+xml;base64,"
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(prefix) for link in links)
    return [base64.b64decode(link.removeprefix(prefix)).decode() for link in links]


def test_the_page_is_self_contained_and_its_pictures_are_valid(page, results):
    assert "<script" not in page
    drawn = pictures(page)
    assert len(drawn) == page.count("<img")
    for picture in drawn:
        assert ElementTree.fromstring(picture).tag.endswith("svg")
    titles = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    label = f"{results[0].file_name.removesuffix('.json')} of 0123456789"
    assert titles[0] == "Paired ratios"
    assert titles[-1] == "Time of a step"
    assert f"{label}: training step" in titles
    assert f"{label}: training step over batch size" in titles
    assert {title.partition(" over ")[2] for title in titles} >= {"rows", "catalogue", "batch size"}
    assert any("30% of the roofline" in picture for picture in drawn)
    assert any("peak memory above the start" in picture for picture in drawn)
    assert "matrix products" in drawn[-1]


def test_the_page_shows_every_figure_and_its_origin(page, results):
    for text in ("0123456789", "2026-01-02", "movielens-1m", "177 GFLOP/s", "(quick)", "1.35 reached", "3 missed"):
        assert text in page
    assert "against $x|&lt;y&gt;" in page
    for result in results:
        for record in result.records:
            assert quantity(record.value, record.unit) in page
    assert render_report(results) == page, "equal results give equal pages"


def test_ratios_with_long_labels_have_a_readable_axis(make_record):
    picture = ratio_bars(
        {
            f"{'a long label ' * 10}{ratio}": make_record(pair=PairedRatio.of([ratio], [1.0], target=1.0))
            for ratio in (0.8, 3.0, 110.0)
        }
    )
    numbers = [float(text) for text in re.findall(r">([\d.,]+)</text>", picture)]
    assert {1, 2, 5, 10, 100} <= set(numbers)
    assert all(f"{number:e}"[0] in "125" for number in numbers)
    assert float(re.search(r'width="([\d.]+)pt"', picture)[1]) > 14 * 72


def test_a_single_plain_record_is_enough(make_record, make_result):
    page = render_report([make_result(make_record(params={}, unit="s"), packages={})])
    assert "Paired ratios" not in page
    assert "Scaling" not in page
    assert "10,000 s" in page
    assert "<td>-</td>" in page, "no version of torch"


def test_a_curve_has_records_that_differ_only_in_its_axis(results):
    assert [(curve.axis, curve.label, len(curve.records)) for curve in curves(results[0].records)] == [
        ("batch_size", "float32", 2),
        ("batch_size", "bf16", 2),
    ]


def test_systems_side_by_side_have_a_bar_each(peers):
    page = render_report([peers])
    assert "<h2>Throughput" not in page
    train, evaluate = pictures(page.partition("<h2>Paired")[0])
    texts, large = re.findall(r">([^<>]+)</text>", train), "RecBole, batch 16,384"
    labels = [f"{name}, 3 layers" for name in ("RecBole, batch 1,024", "TowerZoo, same model, batch 1,024", large)]
    assert [texts.count(text) for text in (*labels, "2,011", "4,022", "1,013")] == [1] * 6
    assert large not in evaluate
