from __future__ import annotations

import struct

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from towerzoo.towers.runs.curves import draw_curves


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
