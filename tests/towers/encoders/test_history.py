from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from towerzoo.datasets import Split
from towerzoo.datasets.history import History
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.encoders import reads_events
from towerzoo.towers.encoders.events import NO_EVENT
from towerzoo.towers.encoders.history import HistoryEncoder
from towerzoo.towers.model.build import load_data
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

N_USERS, N_ITEMS, N = 6, 9, 60
GENERATOR = torch.Generator().manual_seed(1)
USER = torch.randint(1, N_USERS - 1, (N,), generator=GENERATOR)  # the last user does nothing
ITEM = torch.randint(1, N_ITEMS, (N,), generator=GENERATOR)
RATING = torch.randint(1, 4, (N,), generator=GENERATOR).float()
SPLIT = Split(torch.arange(40).int(), torch.arange(40, 50).int(), torch.arange(50, N).int(), in_time=True)


def gather(rating: Tensor = RATING, *, timed: bool = True) -> History:
    observed = {"label": (rating >= 2).float(), "feedback": rating}
    return History.gather(
        USER, ITEM, observed, torch.arange(N) if timed else None, SPLIT, n_owners=N_USERS, n_partners=N_ITEMS
    )


def make(history: History | None = None, **parameters: object) -> HistoryEncoder:
    torch.manual_seed(0)
    spec = {"encoder": "history", "dim": 3, "init": {"name": "normal", "std": 1.0}, **parameters}
    encoder: HistoryEncoder = ENCODERS.build(spec, column=gather() if history is None else history)
    return encoder


def vector(encoder: HistoryEncoder, row: int, by: str) -> Tensor:
    kind = {"item": 0, "label": int(RATING[row] >= 2), "feedback": int(RATING[row]) - 1}[by]
    return encoder.embedding.weight[kind * N_ITEMS + int(ITEM[row])].detach()


def mean(vectors: list[Tensor]) -> Tensor:
    return torch.stack(vectors).mean(0) if vectors else torch.zeros(3)


@pytest.mark.parametrize("by", ["item", "label", "feedback"])
@pytest.mark.parametrize("last", [None, 3, 100])
def test_vectors_are_those_of_a_loop(by, last):
    encoder = make(by=by, last=last)
    for user in range(N_USERS):
        own = [row for row in range(40) if USER[row] == user]
        expected = mean([vector(encoder, row, by) for row in own[-last if last else None :]])
        torch.testing.assert_close(encoder.encode_rows(torch.tensor([user]))[0], expected)
        for at, event in enumerate(own):
            others = own[max(0, at - last) : at] if last else own[:at] + own[at + 1 :]
            expected = mean([vector(encoder, row, by) for row in others])
            torch.testing.assert_close(encoder.encode_rows(torch.tensor([user]), torch.tensor([event]))[0], expected)


@pytest.mark.parametrize("by", ["item", "feedback"])
@pytest.mark.parametrize("last", [None, 3])
def test_the_unknown_user_has_no_history(by, last):
    user = USER.masked_fill(USER == 3, 0)
    timed = torch.arange(N)
    history = History.gather(
        user, ITEM, {"label": RATING, "feedback": RATING}, timed, SPLIT, n_owners=N_USERS, n_partners=N_ITEMS
    )
    encoder, known = make(history, by=by, last=last), make(by=by, last=last)
    strangers = torch.nonzero(user[:40] == 0)[:, 0]
    assert not encoder.encode_rows(torch.zeros(1).long()).any()
    assert not encoder.encode_rows(torch.zeros(len(strangers)).long(), strangers).any(), "not in training either"
    assert not encoder.encode_rows(torch.zeros(1).long(), as_of="test").any()
    train = torch.arange(40)
    mixed = encoder.encode_rows(user[:40], train)
    others = user[:40] != 0
    torch.testing.assert_close(mixed[others], known.encode_rows(USER[:40], train)[others])
    assert not mixed[~others].any()
    assert encoder.inputs(torch.zeros(1).long()).eq(NO_EVENT).all()


@pytest.mark.parametrize(("pooling", "power"), [("sum", 0.0), ("sqrtn", 0.5), ("mean", 1.0)])
def test_a_whole_history_is_pooled_by_sum_root_or_mean(pooling, power):
    encoder = make(pooling=pooling)
    own = [row for row in range(40) if USER[row] == 2]
    expected = torch.stack([vector(encoder, row, "item") for row in own]).sum(0) / len(own) ** power
    torch.testing.assert_close(encoder.encode_rows(torch.tensor([2]))[0], expected)


@pytest.mark.parametrize("last", [None, 4])
def test_the_label_of_an_event_never_changes_its_own_input(last):
    events = torch.arange(40)
    before = make(by="feedback", last=last).encode_rows(USER[:40], events)
    influenced = 0
    for event in range(40):
        changed = RATING.clone()
        changed[event] = RATING[event] % 3 + 1
        after = make(gather(changed), by="feedback", last=last).encode_rows(USER[:40], events)
        torch.testing.assert_close(after[event], before[event], rtol=0, atol=1e-6)  # a sum less one of its parts
        influenced += int(((after - before).abs() > 1e-3).any(dim=1).sum())
    assert influenced > 40, "the labels of other events do change it"


def test_the_newest_event_has_the_first_slot():
    encoder = make(last=3, pooling={"name": "recency", "slots": 3})
    with torch.no_grad():
        encoder.pooling.slots.copy_(torch.tensor([50.0, 0.0, 0.0]))
    newest = max(row for row in range(40) if USER[row] == 3)
    torch.testing.assert_close(encoder.encode_rows(torch.tensor([3]))[0], vector(encoder, newest, "item"))


@pytest.mark.parametrize("last", [None, 100])
def test_a_finished_model_also_knows_the_validation_events(last):
    encoder = make(last=last)
    own = [row for row in range(50) if USER[row] == 1]
    torch.testing.assert_close(
        encoder.encode_rows(torch.tensor([1]), as_of="test")[0], mean([vector(encoder, row, "item") for row in own])
    )


@pytest.mark.parametrize("last", [None, 100])
def test_dropout_leaves_out_the_share_and_keeps_the_mean_of_sums(last):
    pooling = {"pooling": "sum"}
    plain, encoder = make(last=last, **pooling).train(), make(last=last, dropout=0.4, **pooling).train()
    rows, events = USER[:40].repeat(500), torch.arange(40).repeat(500)
    torch.manual_seed(3)
    drawn = torch.stack([encoder.encode_rows(rows[:40], events[:40]) for _ in range(1500)])
    expected = plain.encode_rows(rows[:40], events[:40])
    kept = 1.0 if last is None else 0.6  # a pooled list of slots is not scaled: its pooling sees what is left
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert bool(((drawn.mean(0) - kept * expected).abs() <= 5 * error + 1e-6).all())
    assert torch.equal(encoder.eval().encode_rows(rows[:40]), plain.eval().encode_rows(rows[:40]))


@pytest.mark.parametrize("last", [None, 4])
def test_gradients_reach_the_vectors_of_the_others_alone(last):
    encoder = make(last=last)
    own = [row for row in range(40) if USER[row] == 2]
    event = own[5]
    encoder.encode_rows(torch.tensor([2]), torch.tensor([event])).sum().backward()
    used = {int(ITEM[row]) for row in (own[1:5] if last else own[:5] + own[6:])}
    assert set(encoder.embedding.weight.grad.any(dim=1).nonzero().flatten().tolist()) == used


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pooling": "max"}, r"pooling of encoder 'history' must be sum, sqrtn, mean for a history without"),
        ({"last": 5}, r"last of an encoder of histories must be null for events without times, got 5"),
    ],
)  # fmt: skip
def test_options_that_need_an_order_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        make(gather(timed=False), **parameters)


def test_any_feature_may_be_a_history():
    assert reads_events({"encoder": "history", "dim": 4})
    assert not reads_events({"encoder": "embedding", "dim": 4})
    assert not reads_events(3)


def test_towers_with_histories_train(make_experiment, make_trainer):
    features = {
        "taste": {"encoder": "history", "dim": 4, "by": "feedback", "pooling": "sqrtn"},
        "recent": {"encoder": "history", "dim": 4, "last": 3, "pooling": "recency"},
    }
    experiment = make_experiment(user_tower={"features": features}, training={"unique": True})
    data = load_data(experiment)
    model, trainer = build_module(experiment, data.schema), make_trainer(max_epochs=1)
    trainer.fit(model, DataModule(data))
    assert data.schema.users.history is not None
    batch = next(iter(data.train_batches()))
    model.eval()
    users = model.model.user_factors(batch.user, batch.event)
    expected = (users * model.model.item_factors(batch.item)).sum(1)
    torch.testing.assert_close(model.logits(batch), expected)
    assert not any(name.endswith(("ids", "starts", "place")) for name in model.state_dict())


def test_without_a_history_data_has_none(make_experiment):
    data = load_data(make_experiment())
    assert data.schema.users.history is None
    assert replace(data.schema.users).history is None


@pytest.mark.parametrize("as_of", ["valid", "test"])
@pytest.mark.parametrize(
    "parameters", [{}, {"pooling": "sum"}, {"last": 3}, {"last": 100, "pooling": "recency", "by": "feedback"}], ids=str
)
def test_lists_of_ids_give_the_vectors_of_their_rows(parameters, as_of):
    spec = parameters | ({"pooling": {"name": "recency", "slots": 100}} if "recency" in parameters.values() else {})
    encoder = make(**spec).eval()
    if encoder.pooling is not None:
        for weights in encoder.pooling.parameters():
            torch.nn.init.normal_(weights)
    rows = torch.tensor([3, 0, N_USERS - 1, 1, 3])
    lists = encoder.inputs(rows, as_of=as_of)
    assert (lists[1:3] == NO_EVENT).all()
    torch.testing.assert_close(encoder(lists), encoder.encode_rows(rows, as_of=as_of))
    wider = torch.cat([lists, torch.full((len(rows), 4), NO_EVENT)], dim=1)
    torch.testing.assert_close(encoder(wider), encoder.encode_rows(rows, as_of=as_of))


def test_an_event_with_the_unknown_item_counts_as_one():
    encoder = make()
    known = encoder.embedding.weight[2]
    torch.testing.assert_close(encoder(torch.tensor([[2, 0]]))[0], known / 2)


@pytest.mark.parametrize("last", [None, 4])
def test_rows_are_encoded_as_their_lists_of_events(last):
    """The fast way, sums over each distinct user's events, equals encoding each event's own list."""
    encoder, rows, events = make(by="feedback", last=last), USER[:40], torch.arange(40)
    torch.testing.assert_close(encoder.encode_rows(rows, events), encoder(encoder.inputs(rows, events)))


def test_liked_items_become_the_newest_events_of_the_usual_kind():
    encoder = make(by="feedback")
    newest = encoder.read([((4, 99), ()), ((), (5,))])
    positive = RATING[:40][RATING[:40] >= 2]
    usual = int(positive.mode().values) - 1
    assert newest.tolist() == [[4 + usual * N_ITEMS, usual * N_ITEMS], [5, NO_EVENT]]
    behind = torch.tensor([[7, 8], [NO_EVENT, NO_EVENT]])
    assert encoder.with_newest(behind, newest)[0].tolist() == [*newest[0].tolist(), 7, 8]
    assert encoder.with_newest(behind, newest)[1].tolist() == [5, NO_EVENT, NO_EVENT, NO_EVENT]
