from __future__ import annotations

import base64
import re
import struct
from html.parser import HTMLParser

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from towerzoo.towers.model.build import build_model
from towerzoo.towers.runs.report import draw_curves, render_report

ATTACK = "<script>alert('x')</script>"
FIGURES = {"loss": 0.12344, "auc": 0.56785, "accuracy": 0.9}


@pytest.fixture
def page(make_experiment, world) -> str:
    return render_report(
        f"tanh {ATTACK}",
        config=f"seed: 7  # {ATTACK}\n",
        metrics={
            "test": FIGURES,
            "valid": {"loss": 0.2, "auc": 0.3, "accuracy": 0.4},
            "baselines": {"constant": {"loss": 0.69312, "auc": 0.5, "accuracy": 0.6}},
            "best_epoch": 3,
            "fingerprint": "0123456789ab",
            "protocol": {"dataset": ATTACK, "label": "rating >= 4", "split": {"name": "random"}},
        },
        environment={"seed": 7, "device": f"cpu ({ATTACK})", "packages": {"towerzoo": "9.8.7"}, "commit": "c0ffee"},
        epochs=6,
        curves=b"not really a PNG",
        model=build_model(make_experiment(), world),
    )


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_needs_nothing_from_outside(page):
    links = Links()
    links.feed(page)
    assert links.found == [f"data:image/png;base64,{base64.b64encode(b'not really a PNG').decode()}"]
    assert not links.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?:", page)


def test_what_people_write_is_no_html(page):
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


@pytest.mark.parametrize(
    "row",
    [
        ["test", "0.1234", "0.5678", "0.9000"],
        ["validation", "0.2000", "0.3000", "0.4000"],
        ["baseline: constant", "0.6931", "0.5000", "0.6000"],
    ],
)
def test_results_stand_in_a_table(page, row):
    assert "".join(f"<td>{cell}</td>" for cell in row) in page


def test_the_page_tells_what_was_trained_where(page):
    text = " ".join(page.split())
    assert "Seed 7, 6 epochs of which epoch 3 was the best, cpu (" in text
    assert "TowerZoo 9.8.7 at commit c0ffee." in text
    assert "Protocol 0123456789ab:" in text
    assert "positive where rating &gt;= 4" in text
    assert page.count("BatchNorm1d(16,") == 2


def history(*losses: float) -> list[dict[str, float | int]]:
    return [
        {"epoch": epoch, "train/loss": loss, "valid/loss": loss + 1, "train/auc": 0.5 + epoch, "valid/auc": 0.25}
        for epoch, loss in enumerate(losses)
    ]


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """The lines that are drawn: epochs, values, style, colour and label."""
    lines = []
    plot = Axes.plot

    def spy(self, epochs, values, style, **options):
        lines.append((epochs, values, style, options["color"], options["label"]))
        return plot(self, epochs, values, style, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    return lines


def test_loss_and_auc_of_one_run(drawn):
    draw_curves({"tanh": history(0.7, 0.6)})
    assert drawn == [
        ([0, 1], [0.7, 0.6], "--", "C0", "train"),
        ([0, 1], [1.7, 1.6], "-", "C0", "valid"),
        ([0, 1], [0.5, 1.5], "--", "C0", "train"),
        ([0, 1], [0.25, 0.25], "-", "C0", "valid"),
    ]


def test_several_runs_have_a_colour_and_a_name_each(drawn):
    draw_curves({"tanh": history(0.7), "relu": history(0.8, 0.9)})
    assert {(color, label) for *_, color, label in drawn} == {
        ("C0", "tanh train"),
        ("C0", "tanh valid"),
        ("C1", "relu train"),
        ("C1", "relu valid"),
    }


@pytest.mark.parametrize("rows", [history(0.7, 0.6), history(0.7), history(float("nan")), []], ids=len)
def test_the_picture_is_a_png(rows):
    png = draw_curves({"a run with <odd> $na_me$ & 東": rows})
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", png[16:24]) == (1320, 504)


@pytest.mark.parametrize("name", ["$x", "$x$ $\\frac$", "_hidden"])
def test_a_name_is_no_formula_and_no_secret(name, monkeypatch):
    named: list[str] = []
    legend = Figure.legend

    def spy(self, handles, labels, **options):
        drawn = legend(self, handles, labels, **options)
        named.extend(text.get_text() for text in drawn.get_texts())
        return drawn

    monkeypatch.setattr(Figure, "legend", spy)
    assert draw_curves({name: history(0.7), "other": history(0.6)})
    assert len(named) == 4, "no run is left out of the legend"
    assert named[0].replace("\\$", "$").strip() == f"{name} train"
