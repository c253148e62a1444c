from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from towerzoo.towers.model.build import build_model
from towerzoo.towers.runs.report import render_report

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
