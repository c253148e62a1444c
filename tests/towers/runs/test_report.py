from __future__ import annotations

import re
import struct
from html.parser import HTMLParser

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from towerzoo.towers.model.build import build_model
from towerzoo.towers.runs.epochs import write_epochs
from towerzoo.towers.runs.folder import FORMAT, VERSION, RunFolder
from towerzoo.towers.runs.report import draw_curves, write_report

ATTACK = "<script>alert('x')</script>"
ENVIRONMENT = {
    "format": FORMAT,
    "version": VERSION,
    "config": f"tanh {ATTACK}",
    "started": "2026-11-24",
    "seed": 7,
    "device": f"cpu ({ATTACK})",
    "threads": 2,
    "packages": {"torch": "2", "towerzoo": "9.8.7"},
    "commit": "c0ffee",
}
METRICS = {
    "test": {"loss": 0.12344, "auc": 0.56785, "accuracy": 0.9},
    "valid": {"loss": 0.2, "auc": 0.3, "accuracy": 0.4},
    "baselines": {"constant": {"loss": 0.69312, "auc": 0.5, "accuracy": 0.6}},
    "best_epoch": 3,
    "fingerprint": "0123456789ab",
    "protocol": {"dataset": ATTACK, "label": "rating >= 4", "split": {"name": "random"}},
}


def epochs(*losses: float) -> list[dict[str, float | int]]:
    times = {"seconds": 1.0, "samples_per_second": 9}
    return [
        {"epoch": epoch, "train/loss": loss, "valid/loss": loss + 1, "train/auc": 0.5 + epoch, "valid/auc": 0.25}
        | times
        for epoch, loss in enumerate(losses)
    ]


@pytest.fixture
def page(make_experiment, world, tmp_path) -> str:
    run = RunFolder(tmp_path)
    run.write_json("environment.json", ENVIRONMENT)
    run.write("config.yaml", f"seed: 7  # {ATTACK}\n")
    write_epochs(run, epochs(0.7, 0.6))
    write_report(run, METRICS, build_model(make_experiment(), world))
    assert (tmp_path / "curves.png").stat().st_size > 1_000
    return (tmp_path / "report.html").read_text()


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_needs_nothing_from_outside_and_runs_no_script(page):
    parser = Links()
    parser.feed(page)
    (image,) = parser.links
    assert image.startswith("data:image/png;base64,")
    assert not parser.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?:", page)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


def test_the_page_shows_what_was_trained_where_and_its_results(page):
    text = " ".join(page.split())
    for row in (
        ["test", "0.1234", "0.5678", "0.9000"],
        ["validation", "0.2000", "0.3000", "0.4000"],
        ["baseline: constant", "0.6931", "0.5000", "0.6000"],
    ):
        assert "".join(f"<td>{cell}</td>" for cell in row) in page
    assert "Seed 7, 2 epochs, best epoch 3, cpu (" in text
    assert "TowerZoo 9.8.7 at commit c0ffee." in text
    assert "Protocol 0123456789ab:" in text
    assert "positive where rating &gt;= 4" in text
    assert page.count("BatchNorm1d(16,") == 2


def test_curves_have_a_colour_a_run_and_a_style_a_split(monkeypatch):
    lines = []
    plot = Axes.plot

    def spy(self, epochs, values, style, **options):
        lines.append((epochs, values, style, options["color"], options["label"]))
        return plot(self, epochs, values, style, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    draw_curves({"tanh": epochs(0.7, 0.6)})
    assert lines == [
        ([0, 1], [0.7, 0.6], "--", "C0", "train"),
        ([0, 1], [1.7, 1.6], "-", "C0", "valid"),
        ([0, 1], [0.5, 1.5], "--", "C0", "train"),
        ([0, 1], [0.25, 0.25], "-", "C0", "valid"),
    ]
    lines.clear()
    draw_curves({"tanh": epochs(0.7), "relu": epochs(0.8, 0.9)})
    labels = {(color, label) for *_, color, label in lines}
    assert labels == {("C0", "tanh train"), ("C0", "tanh valid"), ("C1", "relu train"), ("C1", "relu valid")}


@pytest.mark.parametrize("rows", [epochs(0.7, 0.6), epochs(0.7), epochs(float("nan")), []], ids=len)
def test_the_picture_is_a_png(rows):
    png = draw_curves({"a run with <odd> $na_me$ & 東": rows})
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", png[16:24]) == (1320, 504)


@pytest.mark.parametrize("name", ["$x", "$x$ $\\frac$", "_hidden"])
def test_names_are_shown_as_they_are(name, monkeypatch):
    """Dollars enclose a formula, and a leading underscore hides a label from the legend."""
    named: list[str] = []
    legend = Figure.legend

    def spy(self, handles, labels, **options):
        drawn = legend(self, handles, labels, **options)
        named.extend(text.get_text() for text in drawn.get_texts())
        return drawn

    monkeypatch.setattr(Figure, "legend", spy)
    draw_curves({name: epochs(0.7), "other": epochs(0.6)})
    assert len(named) == 4, "no run is left out of the legend"
    assert named[0].replace("\\$", "$").strip() == f"{name} train"
