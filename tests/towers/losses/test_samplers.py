from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import Batch
from towerzoo.registry import SAMPLERS
from towerzoo.towers.losses.candidates import Candidates, draw_candidates, excluded_pairs
from towerzoo.towers.losses.samplers import PopularitySampler, built_sampler
from towerzoo.towers.retrieval.seen_items import SeenItems

COUNTS = torch.tensor([0, 40, 30, 0, 20, 9, 1])  # item 3 has no events
SPECS = [
    "catalogue",
    "in-batch",
    {"name": "uniform", "n": 7},
    {"name": "popularity", "n": 7},
    {"name": "popularity", "n": 7, "power": 1.0},
    {"name": "mixed", "parts": ["in-batch", {"name": "uniform", "n": 4}]},
]
B = 5


def draw_positives() -> torch.Tensor:
    """The items of a batch's events."""
    return torch.multinomial(COUNTS.float(), B, replacement=True)


def batch_of(items: torch.Tensor) -> Batch:
    return Batch(torch.zeros_like(items), items, torch.ones(len(items)))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_items_are_drawn_as_often_as_expected(spec):
    sampler = SAMPLERS.build(spec, item_counts=COUNTS)
    rows = torch.arange(1, len(COUNTS))
    n, drawn = 6_000, torch.zeros(len(COUNTS))
    torch.manual_seed(0)
    for _ in range(n):
        positives = draw_positives()
        drawn += torch.bincount(sampler.draw(positives), minlength=len(COUNTS))
        if spec == "in-batch" or (isinstance(spec, dict) and spec["name"] == "mixed"):
            drawn[positives[0]] -= 1  # an event's own item is not a draw
    expected = sampler.expected(rows, B)
    assert drawn[0] == 0, "the unknown item is never drawn"
    # A count of many draws is nearly Poisson: its variance is no more than its mean.
    error = (expected / n).sqrt().clamp_min(1e-4)
    assert bool(((drawn[1:] / n - expected).abs() <= 5 * error).all())


def test_candidates_are_distinct_and_counted():
    candidates = draw_candidates(SAMPLERS.build("in-batch", item_counts=COUNTS), batch_of(torch.tensor([4, 1, 4, 4])))
    assert candidates.rows.tolist() == [1, 4]
    assert candidates.log_count.exp().tolist() == pytest.approx([1, 3])
    assert candidates.log_expected.exp().tolist() == pytest.approx([3 * 0.4, 3 * 0.2])


def test_random_numbers_at_the_ends_of_the_range_draw_existing_items(monkeypatch):
    sampler = PopularitySampler(COUNTS, n=3, power=1.0)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([0.0, 0.4, 1 - 2**-53], dtype=torch.float64))
    assert sampler.draw(torch.tensor([1])).tolist() == [1, 2, 6]


def test_own_and_known_items_are_excluded():
    user, item = torch.tensor([1, 2, 1]), torch.tensor([5, 7, 9])
    batch = Batch(user, item, torch.ones(3))
    nothing = torch.zeros(4)
    rows = Candidates(torch.tensor([2, 5, 6, 9]), nothing, nothing)
    known = SeenItems(torch.tensor([1, 1, 2]), torch.tensor([6, 8, 2]), n_users=3)
    for seen, expected in ((None, {(0, 1), (2, 3)}), (known, {(0, 1), (2, 3), (0, 2), (2, 2), (1, 0)})):
        assert set(zip(*map(torch.Tensor.tolist, excluded_pairs(batch, rows, seen)), strict=True)) == expected


def sampler(draw, expected=lambda self, rows, n_positives: torch.ones(len(rows))):
    return type(
        "Mine", (), {"__init__": lambda self, item_counts: None, "draw": lambda self, p: draw(p), "expected": expected}
    )


def rows(*values):
    return lambda positives: torch.tensor(values)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (lambda item_counts: item_counts, "have the methods draw and expected, got a Tensor without draw"),
        (sampler(rows(0, 3)), "draw item rows .* from 1 to 4, got rows from 0 to 3"),
        (sampler(rows(1.0, 2.0)), "got a tensor of torch.float32"),
        (sampler(rows([1, 2], [3, 4])), r"and shape \(2, 2\)"),
        (sampler(lambda positives: positives[:0]), "from 1 to 4, got none"),
        (sampler(rows(1, 2), lambda self, rows, n_positives: torch.ones(5)), r"got shape \(5,\)"),
        (sampler(rows(1, 2), lambda self, rows, n_positives: torch.zeros(2)), "times > 0 .* got numbers from 0.0 to 0"),
    ],
)
def test_a_wrong_sampler_is_rejected_when_it_is_built(rejects, part, problem):
    rejects(SAMPLERS, part, lambda: built_sampler("mine", torch.tensor([0, 1, 2, 3, 0])), problem)


def test_a_trial_draw_leaves_the_generator_unchanged(monkeypatch):
    before = torch.manual_seed(3).get_state()
    monkeypatch.setitem(SAMPLERS._parts, "mine", sampler(lambda positives: torch.randint(1, 5, (9,))))
    built_sampler("mine", torch.tensor([0, 1, 2, 3, 0]))
    assert torch.equal(torch.get_rng_state(), before)
