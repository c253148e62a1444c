from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.datasets import Batch, Synthetic
from towerzoo.registry import LOSSES, SAMPLERS
from towerzoo.registry.errors import ConfigError, DataError
from towerzoo.towers.losses.candidates import CandidateLoss, Candidates, draw_candidates, excluded_pairs
from towerzoo.towers.losses.pairs import BCEWithLogits
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

B, C = 4, 6
GENERATOR = torch.Generator().manual_seed(0)
POSITIVE = torch.randn(B, generator=GENERATOR, dtype=torch.float64)
NEGATIVES = torch.randn(B, C, generator=GENERATOR, dtype=torch.float64)
NEGATIVES[0, 2] = NEGATIVES[3, 5] = -math.inf  # these do not count
LOG_COUNT = torch.tensor([1, 2, 1, 3, 1, 1], dtype=torch.float64).log()
LOG_EXPECTED = torch.randn(C, generator=GENERATOR, dtype=torch.float64)
DRAWN = Candidates(torch.arange(C), LOG_COUNT, LOG_EXPECTED)
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 4.0], dtype=torch.float64)


def make(name: str, **parameters: object) -> CandidateLoss:
    given = {} if name == "full-softmax" else {"sampler": "catalogue"}
    loss: CandidateLoss = LOSSES.build({"name": name, **given, **parameters})
    return loss


def once(n: int) -> Candidates:
    """Candidates that were drawn once, as they are on average."""
    return Candidates(torch.arange(n), torch.zeros(n), torch.zeros(n))


def counted(row: int) -> list[tuple[float, float, float]]:
    """The logit, the count and the expected count of each candidate that counts."""
    rows = zip(NEGATIVES[row].tolist(), LOG_COUNT.exp().tolist(), LOG_EXPECTED.exp().tolist(), strict=True)
    return [(logit, count, expected) for logit, count, expected in rows if logit > -math.inf]


def softmax(row: int, temperature: float, logq: bool) -> float:
    own = math.exp(POSITIVE[row].item() / temperature)
    others = sum(
        math.exp(logit / temperature) * count / (expected if logq else 1.0) for logit, count, expected in counted(row)
    )
    return -math.log(own / (own + others))


def bpr(row: int) -> float:
    losses = [math.log1p(math.exp(logit - POSITIVE[row].item())) for logit, *_ in counted(row)]
    return sum(losses) / len(losses)


def hinge(row: int, margin: float) -> float:
    losses = [max(0.0, margin - POSITIVE[row].item() + logit) for logit, *_ in counted(row)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    ("name", "parameters", "formula"),
    [
        ("sampled-softmax", {"temperature": 0.5}, lambda row: softmax(row, 0.5, True)),
        ("sampled-softmax", {"logq": False}, lambda row: softmax(row, 1.0, False)),
        ("bpr", {}, bpr),
        ("hinge", {"margin": 0.7}, lambda row: hinge(row, 0.7)),
    ],
    ids=["sampled-softmax", "sampled-softmax without logQ", "bpr", "hinge"],
)
def test_losses_are_those_of_the_formula(name, parameters, formula, weights):
    found = make(name, **parameters)(POSITIVE, NEGATIVES, DRAWN, weights)
    factors = [1.0] * B if weights is None else weights.tolist()
    expected = sum(factor * formula(row) for row, factor in enumerate(factors)) / sum(factors)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_the_full_softmax_is_torchs_cross_entropy():
    logits = torch.randn(B, C, dtype=torch.float64)
    own = torch.tensor([3, 0, 5, 1])
    positive = logits.gather(1, own.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, own.unsqueeze(1), -math.inf)
    found = make("full-softmax")(positive, others, once(C))
    torch.testing.assert_close(found, functional.cross_entropy(logits, own))


@pytest.mark.parametrize("name", ["sampled-softmax", "bpr", "hinge"])
def test_the_hardest_candidates_are_those_of_the_highest_logits(name):
    best = NEGATIVES.topk(2, dim=1).values
    found = make(name, hardest=2)(POSITIVE, NEGATIVES, once(C))
    torch.testing.assert_close(found, make(name)(POSITIVE, best, once(2)))
    assert make(name, hardest=99)(POSITIVE, NEGATIVES, once(C)) == make(name)(POSITIVE, NEGATIVES, once(C))


@pytest.mark.parametrize("name", ["bpr", "hinge"])
def test_semi_hard_candidates_score_lower_than_the_own_item(name):
    lower = NEGATIVES.masked_fill(POSITIVE.unsqueeze(1) <= NEGATIVES, -math.inf)
    assert bool(lower.isfinite().any())
    assert bool((lower != NEGATIVES).any())
    found = make(name, mining="semi-hard")(POSITIVE, NEGATIVES, DRAWN)
    torch.testing.assert_close(found, make(name)(POSITIVE, lower, DRAWN))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "bce-with-logits"])
def test_a_pair_without_any_candidate_has_a_finite_loss_and_gradient(name):
    positive = torch.zeros(1, requires_grad=True)
    loss = make(name)(positive, torch.full((1, 3), -math.inf), once(3))
    assert loss.item() == 0
    loss.backward()
    assert positive.grad.isfinite().all()


def scored(**settings: object) -> tuple[BCEWithLogits, Tensor, Tensor]:
    return BCEWithLogits(**settings), torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])


def test_class_weights_smoothing_and_weights_of_events_act_in_training_alone():
    loss, logits, labels = scored(positive_weight=3.0, label_smoothing=0.1)
    weights = torch.tensor([1.0, 2.0, 3.0])
    plain = functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(loss.eval()(logits, labels, weights), plain)
    terms = [
        weight * (3 * y * math.log1p(math.exp(-x)) + (1 - y) * math.log1p(math.exp(x)))
        for x, y, weight in zip(logits.tolist(), [0.9, 0.1, 0.1], weights.tolist(), strict=True)
    ]
    assert loss.train()(logits, labels, weights).item() == pytest.approx(sum(terms) / 6, rel=1e-6)
    unweighted = [term / weight for term, weight in zip(terms, weights.tolist(), strict=True)]
    assert loss.train()(logits, labels).item() == pytest.approx(sum(unweighted) / 3, rel=1e-6)
    assert scored()[0].train()(logits, labels) == plain


RETRIEVAL = {
    "data.label": "{positive_from: 1}",
    "data.split": "leave-last-out",
    "training": "{max_epochs: 4, early_stopping: {monitor: valid/ndcg@5, patience: 9}}",
    "evaluation": "{ranking: {at: [5, 10]}}",
}


@pytest.mark.parametrize(
    "loss",
    [
        "full-softmax",
        "sampled-softmax",
        "{name: sampled-softmax, sampler: {name: mixed, parts: [in-batch, {name: uniform, n: 50}]}}",
        "{name: bpr, sampler: {name: popularity, n: 50}}",
        "{name: hinge, sampler: {name: uniform, n: 50}, hardest: 5}",
    ],
)
def test_training_against_candidates_finds_more(loss, make_trainer):
    overrides = [f"{key}={value}" for key, value in RETRIEVAL.items()]
    features = "{recent: {encoder: history, dim: 16, last: 5}, user_id: {encoder: embedding, dim: 16}}"
    towers = [
        f"user_tower={{features: {features}, combine: sum, init: {{name: normal, std: 0.1}}}}",
        "item_tower={features: {movie_id: {encoder: embedding, dim: 16}}, init: {name: normal, std: 0.1}}",
        "score={name: dot, item_bias: true}",
        "optimizer={name: adam, lr: 0.02}",
    ]
    world = ["data.users=300", "data.items=100", "data.interactions=9000", "data.batch_size=512"]
    experiment, _ = read_experiment("quickstart", [*world, *overrides, *towers, f"loss={loss}"])
    data = load_data(experiment)
    model, trainer = build_module(experiment, data.schema), make_trainer(max_epochs=4)
    trainer.validate(model, DataModule(data), verbose=False)
    before = trainer.callback_metrics["valid/recall@10"].item()
    trainer.fit(model, DataModule(data))
    assert trainer.callback_metrics["valid/recall@10"].item() > before
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert not {"train/auc", "valid/auc"} & set(trainer.callback_metrics)


COUNTS = torch.tensor([0, 5, 4, 3, 2, 1, 1])
USER = torch.tensor([1, 2, 3], dtype=torch.int32)
ITEM = torch.tensor([1, 2, 2], dtype=torch.int32)
SHOWN = torch.tensor([[3, 4, 3, 1], [5, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)
"""The first event's list holds an item twice and its own; the last is empty."""
BATCH = Batch(USER, ITEM, torch.ones(3), negatives=SHOWN)
COMPARED = [{3, 4}, {5}, set()]


Step = Callable[..., tuple[DSSM, Tensor]]


@pytest.fixture
def step(make_experiment) -> Step:
    """Builds a model of six items in double precision; returns it with its loss of a batch."""

    def make(loss: Any, batch: Batch = BATCH, known: SeenItems | None = None) -> tuple[DSSM, Tensor]:
        towers = {
            f"{side}_tower": {
                "features": {key: {"encoder": "embedding", "dim": 3, "init": {"name": "normal", "std": 1.0}}}
            }
            for side, key in (("user", "user_id"), ("item", "movie_id"))
        }
        experiment = make_experiment(**towers, score="dot", loss=loss)
        model = build_module(experiment, Synthetic(users=6, items=6, interactions=30).load()).double()
        assert isinstance(model.loss, CandidateLoss)
        model._sampler = SAMPLERS.build(model.loss.sampler, item_counts=COUNTS)
        model._known = known
        return model, model.training_step(batch, 0)

    return make


def by_hand(model: DSSM, terms: Callable[[float, list[float]], float]) -> float:
    """The mean over events of a function of the own item's logit and those of what was shown, item by item."""
    losses = []
    for user, item, shown in zip(USER, ITEM, COMPARED, strict=True):
        own, *others = (
            model.model(user.unsqueeze(0), torch.tensor([row], dtype=torch.int32)).item() for row in (int(item), *shown)
        )
        losses.append(terms(own, others))
    return sum(losses) / len(losses)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (
            {"name": "sampled-softmax", "temperature": 0.5},
            lambda own, others: math.log(sum(math.exp((x - own) / 0.5) for x in (own, *others))),
        ),
        (
            {"name": "sampled-softmax", "logq": False},
            lambda own, others: math.log(sum(math.exp(x - own) for x in (own, *others))),
        ),
        ({"name": "bpr"}, lambda own, others: mean([math.log1p(math.exp(x - own)) for x in others])),
        ({"name": "hinge", "margin": 4.0}, lambda own, others: mean([max(0.0, 4 - own + x) for x in others])),
        (
            {"name": "hinge", "margin": 4.0, "hardest": 1},
            lambda own, others: max((max(0.0, 4 - own + x) for x in others), default=0.0),
        ),
    ],
    ids=["sampled-softmax", "sampled-softmax without logQ", "bpr", "hinge", "hinge with the hardest"],
)
def test_the_loss_is_that_of_the_formula(step, loss, formula):
    model, found = step({"sampler": "from-column", **loss})
    expected = by_hand(model, formula)
    assert found.item() == pytest.approx(expected, abs=1e-12)
    assert expected > 0.1


def test_events_with_which_nothing_was_shown_have_no_loss_and_finite_gradients(step):
    batch = Batch(USER, ITEM, torch.ones(3), negatives=torch.zeros_like(SHOWN))
    for name in ("sampled-softmax", "bpr", "hinge"):
        model, loss = step({"name": name, "sampler": "from-column"}, batch)
        assert loss.item() == 0
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_with_the_catalogue_it_is_the_full_softmax(step):
    """What was shown is certain to be there and counts once, as in the catalogue that it is taken out of."""
    sampler = {"name": "mixed", "parts": ["catalogue", "from-column"]}
    for logq in (True, False):
        _, mixed = step({"name": "sampled-softmax", "sampler": sampler, "logq": logq})
        _, full = step("full-softmax", BATCH._replace(negatives=None))
        torch.testing.assert_close(mixed, full)


def test_mixed_with_the_batch_others_lose_logq_and_what_was_shown_does_not(step):
    """By hand: item 3 was shown with the first event, and is the item of the second one as well."""
    batch = Batch(USER[:2], torch.tensor([1, 3], dtype=torch.int32), torch.ones(2), negatives=SHOWN[:2])
    sampler = {"name": "mixed", "parts": ["in-batch", "from-column"]}
    model, found = step({"name": "sampled-softmax", "sampler": sampler}, batch)
    logit = {(u, i): model.model(torch.tensor([u]), torch.tensor([i])).item() for u in (1, 2) for i in (1, 3, 4, 5)}
    share = (COUNTS / COUNTS.sum()).tolist()
    first = [logit[1, 3], logit[1, 4]]  # item 3 counts once, as shown, though the batch holds it
    second = [logit[2, 5], logit[2, 1] - math.log(share[1])]  # item 1: one other event, drawn share[1] times
    losses = [
        math.log(sum(math.exp(x - own) for x in (own, *others)))
        for own, others in ((logit[1, 1], first), (logit[2, 3], second))
    ]
    assert found.item() == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_what_a_user_is_known_to_like_is_no_negative(step):
    known = SeenItems(torch.tensor([1, 1, 2]), torch.tensor([1, 4, 2]), n_users=7)
    _, found = step({"name": "bpr", "sampler": "from-column"}, known=known)
    fewer = BATCH._replace(negatives=torch.tensor([[3], [5], [0]], dtype=torch.int32))
    _, expected = step({"name": "bpr", "sampler": "from-column"}, fewer)
    torch.testing.assert_close(found, expected)
    assert found != step({"name": "bpr", "sampler": "from-column"})[1]


def test_the_hardest_are_chosen_among_all_candidates(step):
    sampler = {"name": "mixed", "parts": ["catalogue", "from-column"]}
    _, mixed = step({"name": "bpr", "sampler": sampler, "hardest": 2})
    _, catalogue = step({"name": "bpr", "sampler": "catalogue", "hardest": 2}, BATCH._replace(negatives=None))
    torch.testing.assert_close(mixed, catalogue)


def test_what_was_shown_stands_behind_the_items_for_all_events():
    sampler = SAMPLERS.build({"name": "mixed", "parts": ["in-batch", "from-column"]}, item_counts=COUNTS)
    candidates = draw_candidates(sampler, BATCH)
    assert candidates.rows.tolist() == [1, 2]
    assert candidates.shown is not None
    assert [set(row) - {own} for row, own in zip(candidates.shown.tolist(), ITEM.tolist(), strict=True)] == COMPARED
    assert len(candidates.log_count) == len(candidates.log_expected) == 2 + SHOWN.shape[1]
    assert not candidates.log_count[2:].any()
    assert not candidates.log_expected[2:].any()
    excluded = set(zip(*map(Tensor.tolist, excluded_pairs(BATCH, candidates, None)), strict=True))
    own = {(0, 0), (1, 1), (2, 1)}
    pads = {
        (event, 2 + slot)
        for event, row in enumerate(candidates.shown.tolist())
        for slot, item in enumerate(row)
        if item == ITEM[event]
    }
    assert excluded == own | pads


def test_the_same_pairs_are_seen_in_any_shape():
    torch.manual_seed(0)
    user, item = torch.randint(0, 9, (200,)), torch.randint(1, 30, (200,))
    seen = SeenItems(user, item, n_users=9)
    pairs = set(zip(user.tolist(), item.tolist(), strict=True))
    found = seen.holds(torch.arange(9).unsqueeze(1), torch.arange(31).unsqueeze(0))
    assert found.tolist() == [[(u, i) in pairs for i in range(31)] for u in range(9)]
    assert not SeenItems(user[:0], item[:0], n_users=9).holds(torch.arange(9), torch.arange(9)).any()


FILES = """\
data:
  name: tabular
  root: {root}
  interactions: {{files: plays.csv, user: user, item: song, negatives: shown, lists: {{shown: ' '}}}}
  label: implicit
  split: {{name: random, fractions: [0.8, 0.1, 0.1]}}
  batch_size: 64
user_tower: {{features: {{user: {{encoder: embedding, dim: 4}}}}}}
item_tower: {{features: {{song: {{encoder: embedding, dim: 4}}}}}}
score: {{name: dot, item_bias: true}}
loss: {{name: bpr, sampler: from-column}}
optimizer: {{name: adam, lr: 0.05}}
training: {{max_epochs: 3}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """400 plays of songs 0 to 9; song n + 10 is shown with n and never taken, but in the first two plays nothing is."""
    rows = [f"{n % 20},{n % 7 + n % 4},{'' if n < 2 else f'{n % 7 + n % 4 + 10}'}" for n in range(400)]
    every = [f"0,{song}," for song in range(20)]
    (tmp_path / "plays.csv").write_text("\n".join(["user,song,shown", *rows, *every]) + "\n")
    (tmp_path / "mine.yaml").write_text(FILES.format(root=tmp_path))
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "loss",
    [
        "{name: bpr, sampler: from-column}",
        "{name: sampled-softmax, sampler: {name: mixed, parts: [from-column, in-batch]}}",
        "{name: hinge, sampler: from-column, hardest: 1, mask_known: false}",
    ],
)
def test_training_tells_what_was_taken_from_what_was_shown(config, make_trainer, loss):
    experiment, _ = read_experiment(config, [f"loss={loss}"])
    data = load_data(experiment)
    model = build_module(experiment, data.schema)

    def right() -> float:
        events = data.schema.interactions
        assert events.negatives is not None
        rows = (events.negatives[:, 0] > 0).nonzero().flatten()
        user, item, shown = events.user[rows], events.item[rows], events.negatives[rows, 0]
        return float((model.model(user, item) > model.model(user, shown)).float().mean())

    model.eval()
    before = right()
    model.train()
    make_trainer(max_epochs=3).fit(model, DataModule(data))
    model.eval()
    assert right() > max(before, 0.9)


def test_batches_of_training_hold_what_was_shown_with_their_events_and_others_do_not(config):
    experiment, _ = read_experiment(config)
    data = load_data(experiment)
    column = data.schema.interactions.negatives
    assert column is not None
    for batch in data.train_batches():
        assert torch.equal(batch.negatives, column[batch.event.long()])
    assert next(iter(data.batches("test"))).negatives is None
    experiment, _ = read_experiment(config, ["loss=sampled-softmax"])
    data = load_data(experiment)
    assert next(iter(data.train_batches())).negatives is None
    assert data.schema.interactions.negatives is None, "what nobody asks for would take up memory"


STREAMED = [
    "data.interactions={files: train.parquet, valid: valid.parquet, test: test.parquet, user: user, item: song, "
    "negatives: shown, measures: [stars], stream: true, shuffle_buffer: 5000}",
    "data.label={column: stars, positive_from: 4}",
    "data.split=files",
    "data.items={files: songs.csv, id: song}",
    "loss={name: bpr, sampler: from-column, mask_known: false}",
]
IN_MEMORY = "data.interactions.stream=false"


@pytest.fixture
def divided(config: Path) -> Path:
    """1,000 training events in row groups of 70, of which each was shown with none to four songs, from 10 on."""
    (config.parent / "songs.csv").write_text("song\n" + "\n".join(map(str, range(20))) + "\n")
    for part, n in (("train", 1_000), ("valid", 40), ("test", 40)):
        shown = [[10 + (row + place) % 10 for place in range(row // 7 % 5)] for row in range(n)]
        plays = {
            "user": [row % 20 for row in range(n)],
            "song": [row // 3 % 10 for row in range(n)],
            "stars": [1 + row % 7 % 5 for row in range(n)],
            "shown": pa.array(shown if part == "train" else [[]] * n, pa.list_(pa.int64())),
        }
        pq.write_table(pa.table(plays), config.parent / f"{part}.parquet", row_group_size=70)
    return config


def test_events_that_are_streamed_and_those_in_memory_are_the_same_with_what_was_shown(divided):
    found = []
    for overrides in (STREAMED, [*STREAMED, IN_MEMORY]):
        experiment, _ = read_experiment(divided, overrides)
        data = load_data(experiment)
        assert (data.stream is None) == (IN_MEMORY in overrides)
        events: Counter[tuple[Any, ...]] = Counter()
        for batch in data.train_batches():
            assert batch.negatives is not None
            shown = [tuple(row for row in rows if row) for rows in batch.negatives.tolist()]
            events.update(zip(batch.user.tolist(), batch.item.tolist(), batch.label.tolist(), shown, strict=True))
        found.append(events)
        assert next(iter(data.batches("test"))).negatives is None
    assert found[0] == found[1]
    assert found[0].total() == sum(1 for row in range(1_000) if row % 7 % 5 >= 3)


def test_a_stream_trains_to_tell_what_was_taken_from_what_was_shown(divided, make_trainer):
    experiment, _ = read_experiment(divided, STREAMED)
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    make_trainer(max_epochs=15).fit(model, DataModule(data))
    model.eval()
    users, songs = torch.arange(1, 21), torch.arange(1, 21)
    logits = model.model(users.repeat_interleave(20), songs.repeat(20)).view(20, 2, 10)
    taken, shown = logits.unbind(1)
    assert (taken.unsqueeze(2) > shown.unsqueeze(1)).float().mean() > 0.8, "before training it is half of them"


def test_songs_that_were_shown_in_a_stream_and_have_no_row_are_told_before_training(divided):
    few = [*STREAMED, "data.unknown=row"]
    (divided.parent / "songs.csv").write_text("song\n" + "\n".join(map(str, range(19))) + "\n")
    with pytest.raises(
        DataError, match=r"train\.parquet: shown must be lists of ids of .*songs\.csv, got \[.*19.*\] in"
    ):
        load_data(read_experiment(divided, STREAMED)[0])
    lost = sum(19 in [10 + (row + place) % 10 for place in range(row // 7 % 5)] for row in range(1_000))
    with pytest.warns(UserWarning, match=rf"{lost} of 1,000 training events were shown with items that have no row"):
        load_data(read_experiment(divided, few)[0])


@pytest.mark.parametrize("sampler", ["from-column", "{name: mixed, parts: [in-batch, from-column]}"])
def test_data_that_does_not_tell_what_was_shown_is_refused_before_it_is_read(config, sampler):
    text = config.read_text().replace(", negatives: shown, lists: {shown: ' '}", "")
    config.write_text(text.replace("sampler: from-column", f"sampler: {sampler}"))
    (config.parent / "plays.csv").write_text("user,song\nan event that cannot be read\n")
    message = (
        r"mine\.yaml:11: loss\.sampler must be a sampler that the dataset has items for, got 'from-column'\.\s+"
        r"Name their column as data\.interactions\.negatives of a tabular dataset, or choose another sampler\."
    )
    with pytest.raises(ConfigError, match=message):
        read_experiment(config)


def test_a_dataset_that_lacks_what_it_says_it_has_is_refused(make_experiment):
    experiment = make_experiment(loss={"name": "bpr", "sampler": "from-column"})
    message = "the dataset must tell which items were shown and not taken for the sampler 'from-column', got events"
    with pytest.raises(DataError, match=message):
        load_data(experiment)
