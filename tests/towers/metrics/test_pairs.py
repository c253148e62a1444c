from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from towerzoo.towers.metrics import auc as auc_module
from towerzoo.towers.metrics import pairs as pairs_module
from towerzoo.towers.metrics.pairs import SplitMetrics, calibration_error
from towerzoo.towers.metrics.plan import PAIR_METRICS, USER_METRICS


def events(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, generator=generator)
    return logits, (torch.rand(n, generator=generator) < torch.sigmoid(logits / 2 - 1)).float()


@pytest.mark.parametrize("bins", [1, 10, 15, 100])
def test_the_calibration_error_equals_torchmetrics(bins):
    logits, labels = events(20_000, 0)
    expected = binary_calibration_error(torch.sigmoid(logits.double()), labels.int(), n_bins=bins, norm="l1").item()
    assert expected > 0.05
    assert calibration_error(logits, labels, bins) == pytest.approx(expected, abs=1e-6)


def test_the_calibration_error_does_not_depend_on_the_chunks(monkeypatch):
    logits, labels = events(1_000, 1)
    whole = calibration_error(logits, labels)
    monkeypatch.setattr(pairs_module, "EVENTS_AT_ONCE", 7)
    assert calibration_error(logits, labels) == pytest.approx(whole, abs=1e-12)


def test_the_share_of_positives_predicted_for_all_has_no_error_in_any_order():
    labels = torch.tensor([1.0] * 30 + [0.0] * 70)
    assert calibration_error(torch.logit(torch.full((100,), 0.3)), labels) == pytest.approx(0, abs=1e-7)


def test_certain_predictions_are_in_the_last_bin():
    certain = torch.tensor([800.0, 800.0, -800.0, -800.0])
    assert calibration_error(certain, torch.tensor([1.0, 1.0, 0.0, 0.0])) == 0
    assert calibration_error(certain, torch.tensor([0.0, 0.0, 1.0, 1.0])) == 1


def test_over_and_underconfidence_do_not_cancel_out():
    logits = torch.logit(torch.tensor([0.9, 0.9, 0.1, 0.1]))
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert calibration_error(logits, labels) == pytest.approx(0.4)
    assert calibration_error(logits, labels, bins=1) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("logits", [[], [1.0, math.nan]], ids=str)
def test_an_undefined_calibration_error_is_nan(logits):
    assert math.isnan(calibration_error(torch.tensor(logits), torch.ones(len(logits))))


def measured(batches: Iterable[tuple[float, Tensor, Tensor]]) -> dict[str, float]:
    metrics = SplitMetrics()
    for loss, logits, labels in batches:
        metrics.update(torch.tensor(loss), logits, labels)
    return {name: value.item() for name, value in metrics.compute().items()}


def auc(logits: list[float], labels: list[int]) -> float:
    return measured([(0.0, torch.tensor(logits), torch.tensor(labels, dtype=torch.float32))])["auc"]


def exact_auc(logits: np.ndarray, labels: np.ndarray) -> float:
    """The rank-sum formula in float64: the share of pairs in the right order, ties counted half."""
    _, tie, count = np.unique(logits, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[tie]
    positives = int(labels.sum())
    negatives = len(labels) - positives
    return float((rank[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@pytest.mark.parametrize("decimals", [1, 7], ids=["many ties", "few ties"])
@pytest.mark.parametrize(("n", "positive"), [(50, 0.5), (20_000, 0.01), (1_000_000, 0.575)])
def test_auc_equals_the_rank_formula(n, positive, decimals):
    rng = np.random.default_rng(0)
    labels = rng.random(n) < positive
    logits = np.round(3 * rng.standard_normal(n) + 2 * labels, decimals).astype(np.float32)
    actual = measured([(0.0, torch.from_numpy(logits), torch.from_numpy(labels).float())])["auc"]
    assert actual == pytest.approx(exact_auc(logits, labels), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_auc_equals_torchmetrics(dtype):
    generator = torch.Generator().manual_seed(4)
    chances = torch.rand(5_000, generator=generator).to(dtype)
    labels = torch.rand(5_000, generator=generator) < chances.double()
    actual = auc_module.exact_auc([(chances.clone(), labels)])
    assert actual == pytest.approx(binary_auroc(chances.double(), labels.int()).item(), abs=1e-6)


def test_auc_does_not_change_its_input():
    logits = torch.tensor([3.0, 1.0, 2.0, 0.0])
    auc_module.exact_auc([(logits, torch.tensor([True, False, True, True]))])
    assert logits.tolist() == [3.0, 1.0, 2.0, 0.0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=60), st.integers(1, 60))
def test_auc_does_not_depend_on_the_blocks(events, length):
    logits, positive = (
        torch.tensor([logit for logit, _ in events]).float(),
        torch.tensor([label for _, label in events]),
    )
    blocks = zip(logits.split(length), positive.split(length), strict=True)
    whole = auc_module.exact_auc([(logits, positive)])
    assert auc_module.exact_auc(blocks) == pytest.approx(whole, nan_ok=True)


def test_auc_holds_one_block_at_a_time():
    alive: list[weakref.ref[Tensor]] = []

    def blocks():
        for _ in range(3):
            assert not any(block() is not None for block in alive), "earlier blocks must be released"
            logits = torch.randn(10)
            alive.append(weakref.ref(logits))
            yield logits, torch.arange(10) < 5
            del logits

    auc_module.exact_auc(blocks())
    assert len(alive) == 3


def test_figures_are_the_same_in_one_block_and_in_many(monkeypatch):
    logits, labels = torch.randn(1_000), (torch.arange(1_000) % 3 == 0).float()
    batches = list(zip([0.5] * 100, logits.split(10), labels.split(10), strict=True))
    whole = measured(batches)
    monkeypatch.setattr(pairs_module, "EVENTS_A_BLOCK", 64)
    assert measured(batches) == pytest.approx(whole, abs=1e-9)
    batches[3][1][0] = math.nan
    actual = measured(batches)
    assert math.isnan(actual["auc"])
    assert actual["accuracy"] == pytest.approx(whole["accuracy"], abs=1.5e-3), "the other events still count"


@pytest.mark.parametrize(
    ("logits", "positive"),
    [([1.0, 2.0], [True, True]), ([1.0, 2.0], [False, False]), ([1.0, math.nan], [True, False]), ([], [])],
    ids=str,
)
def test_auc_of_one_class_or_of_nan_is_nan(logits, positive):
    assert math.isnan(auc_module.exact_auc([(torch.tensor(logits), torch.tensor(positive, dtype=torch.bool))]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_auc_on_a_gpu_equals_the_cpu():
    logits = torch.randn(10_000).mul(5).round()
    positive = torch.rand(10_000) < logits.sigmoid()
    assert auc_module.exact_auc([(logits.cuda(), positive.cuda())]) == auc_module.exact_auc([(logits, positive)])


@pytest.mark.parametrize(
    ("low", "high"),
    [(30.0, 40.0), (40.0, 50.0), (-50.0, -40.0), (-800.0, -799.0), (1e4, 1.001e4), (17.0, 17.00001), (1e-7, 2e-7)],
)
def test_only_equal_logits_tie(low, high):
    assert [auc([low, high], [0, 1]), auc([low, high], [1, 0]), auc([low, low], [0, 1])] == [1.0, 0.0, 0.5]


def test_logits_in_0_to_1_are_not_taken_for_probabilities():
    logits, labels = torch.tensor([0.1, 0.3, 0.7, 0.9]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    # All are positive logits and so predict 1; as probabilities two of them would predict 0.
    assert measured([(0.0, logits, labels)])["accuracy"] == 0.75
    # One batch inside [0, 1] and one outside must still be ranked on one scale: 0.9 < 2, and 0.1 > -1.
    inside, outside = torch.tensor([0.9, 0.1]), torch.tensor([2.0, -1.0])
    assert measured([(0.0, inside, torch.tensor([0.0, 1.0])), (0.0, outside, torch.tensor([1.0, 0.0]))])["auc"] == 0.75


def test_a_positive_logit_predicts_a_positive_label():
    logits, labels = torch.tensor([1e-20, -1e-20, 0.0, 50.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert measured([(0.0, logits, labels)])["accuracy"] == 0.75


def test_batches_of_any_lengths_equal_one_update():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1_000, generator=generator).mul(10).round().div(10)
    labels = (torch.rand(1_000, generator=generator) < 0.4).float()
    losses = torch.rand(1_000, generator=generator)
    cuts = [0, 1, 2, 500, 999, 1_000]
    parts = [slice(start, end) for start, end in pairwise(cuts)]
    whole = measured([(losses.mean().item(), logits, labels)])
    assert measured((losses[p].mean().item(), logits[p], labels[p]) for p in parts) == pytest.approx(whole, abs=1e-6)


def test_the_loss_is_weighted_by_batch_length():
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert measured([(1.0, labels[:1], labels[:1]), (3.0, labels[1:], labels[1:])])["loss"] == 2.5


def test_a_nan_loss_is_visible():
    labels = torch.tensor([0.0, 1.0])
    assert math.isnan(measured([(0.5, labels, labels), (math.nan, labels, labels), (0.5, labels, labels)])["loss"])


def test_reset_drops_all_batches():
    metrics = SplitMetrics()
    metrics.update(torch.tensor(9.0), torch.tensor([5.0, 6.0]), torch.tensor([1.0, 0.0]))
    metrics.reset()
    metrics.update(torch.tensor(1.0), torch.tensor([5.0, 6.0]), torch.tensor([0.0, 1.0]))
    assert {name: value.item() for name, value in metrics.compute().items()} == {
        "loss": 1.0, "auc": 1.0, "accuracy": 0.5
    }  # fmt: skip


def test_collecting_keeps_no_graph():
    metrics = SplitMetrics()
    logits = torch.tensor([0.5, -0.5], requires_grad=True)
    metrics.update(logits.sum(), logits, torch.tensor([1.0, 0.0]))
    assert not any(value.requires_grad for value in metrics.compute().values())


def test_batches_are_kept_in_few_tensors():
    def tensors() -> int:
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())

    metrics = SplitMetrics()
    metrics.update(torch.tensor(0.5), torch.tensor([0.1]), torch.tensor([1.0]), torch.tensor([1]))
    before = tensors()
    for _ in range(100):
        metrics.update(torch.tensor(0.5), torch.tensor([0.1]), torch.tensor([1.0]), torch.tensor([1]))
    assert tensors() < before + 20


def test_with_users_there_are_figures_of_users():
    metrics = SplitMetrics()
    user, labels = torch.tensor([1, 1, 2, 2]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    for rows in (slice(0, 1), slice(1, 4)):
        metrics.update(torch.tensor(0.5), torch.tensor([9.0, -9.0, 9.0, -9.0])[rows], labels[rows], user[rows])
    figures = metrics.compute()
    assert list(figures) == [*PAIR_METRICS, *USER_METRICS]
    assert (figures["auc"], figures["user_auc"]) == (0.5, 0.5)
    assert figures["calibration_error"].item() == pytest.approx(0.5, abs=1e-3)


def test_figures_of_a_stream_equal_those_of_kept_logits():
    kept, streamed = SplitMetrics(), SplitMetrics(keep_logits=False)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for size in (7, 100, 1):
            logits, labels = torch.randn(size, generator=generator), torch.rand(size, generator=generator).round()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            for metrics in (kept, streamed):
                metrics.update(loss, logits, labels)
        expected, actual = kept.compute(), streamed.compute()
        assert actual.keys() == {"loss", "accuracy"}
        for name, value in actual.items():
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-6)
        kept.reset()
        streamed.reset()


@pytest.mark.parametrize("keep_logits", [True, False])
def test_batches_of_two_processes_are_gathered(keep_logits):
    """The other process has the same batches in another order."""
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    batches = [(torch.tensor(0.5), torch.tensor([2.0, -1.0]), labels[:2]), (torch.tensor(0.2), -labels[2:], labels[2:])]
    one, two = (SplitMetrics(keep_logits=keep_logits) for _ in range(2))
    for batch in batches:
        one.update(*batch)
    for batch in batches * 2:
        two.update(*batch)
    one.gather(lambda rows: torch.cat([rows, rows]), torch.device("cpu"))
    expected = {name: value.item() for name, value in two.compute().items()}
    assert {name: value.item() for name, value in one.compute().items()} == pytest.approx(expected)
