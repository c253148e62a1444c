from __future__ import annotations

import math
from itertools import combinations

import ir_measures
import pytest
import torch
from ir_measures import AP, RR, P, R, Success, nDCG
from torch import Tensor

from towerzoo.datasets import Interactions, Split, StarSchema, TwoTowerData, encode_table
from towerzoo.registry.errors import ConfigError, DataError, TrainingError
from towerzoo.towers.metrics import ranking as ranking_module
from towerzoo.towers.metrics.ranking import Ranking, RankingTask, rank, ranking_task
from towerzoo.towers.retrieval.seen_items import SeenItems

N_USERS, N_ITEMS, KS = 40, 60, (1, 5, 12, 40)
# Of equal scores MS MARCO's script takes the smaller name first, trec_eval the larger one.
TOOLS = {
    "recall": (R, False),
    "precision": (P, False),
    "ndcg": (nDCG, False),
    "map": (AP, False),
    "hit_rate": (Success, False),
    "mrr": (RR, True),
}


def whole_numbers(n: int, seed: int) -> Tensor:
    """Small whole numbers, so that there are many ties and every order of addition gives the same sum."""
    return torch.randint(-2, 3, (n, 3), generator=torch.Generator().manual_seed(seed)).float()


def rows(n: int, below: int, seed: int) -> Tensor:
    return torch.randint(0, below, (n,), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


USERS, ITEMS = whole_numbers(N_USERS, 0), whole_numbers(N_ITEMS, 1)
SEEN = (rows(900, N_USERS, 2), rows(900, N_ITEMS, 3))
# Few users for many events: some have more relevant items than the shorter lists, and pairs repeat; others have none.
RELEVANT = (rows(300, N_USERS - 8, 4), rows(300, N_ITEMS, 5))
COUNTS = torch.bincount(SEEN[1], minlength=N_ITEMS)


def pairs(events: tuple[Tensor, Tensor]) -> set[tuple[int, int]]:
    return {(user, item) for user, item in zip(*map(Tensor.tolist, events), strict=True) if user and item}


def candidates(user: int) -> list[int]:
    left_out = pairs(SEEN) - pairs(RELEVANT)
    return [item for item in range(1, N_ITEMS) if (user, item) not in left_out]


def task(ks: tuple[int, ...] = KS, *, seen: bool = True) -> RankingTask:
    return RankingTask(*RELEVANT, SeenItems(*SEEN, N_USERS) if seen else None, COUNTS, ks)


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    return rank(USERS, ITEMS, task())


def test_the_data_has_all_difficult_cases(ranking):
    assert len(pairs(RELEVANT)) < len(RELEVANT[0]), "pairs repeat"
    assert pairs(RELEVANT) & pairs(SEEN), "relevant items were seen"
    assert (RELEVANT[0] == 0).any(), "the unknown user has events"
    assert (RELEVANT[1] == 0).any(), "the unknown item has events"
    assert len(ranking.users) == N_USERS - 1 - 8, "users without a relevant item are not ranked"
    assert (torch.bincount(ranking.position) > KS[1]).any(), "users have more relevant items than positions"
    assert min(len(candidates(user)) for user in ranking.users.tolist()) < KS[-1], "lists are too short"
    scores = (USERS @ ITEMS.T)[ranking.users]
    assert (scores.sort(dim=1).values.diff(dim=1) == 0).sum() > 1_000, "scores tie"


@pytest.mark.parametrize("metric", TOOLS)
def test_figures_equal_trec_eval_and_ms_marco(metric, ranking):
    measure, ascending = TOOLS[metric]

    def name(item: int) -> str:
        return f"{item if ascending else 9_999 - item:04d}"

    scores = (USERS @ ITEMS.T).tolist()
    users = sorted({user for user, _ in pairs(RELEVANT)})
    relevant = [ir_measures.Qrel(str(user), name(item), 1) for user, item in pairs(RELEVANT)]
    lists = [
        ir_measures.ScoredDoc(str(user), name(item), scores[user][item]) for user in users for item in candidates(user)
    ]
    expected = {
        (value.measure["cutoff"], int(value.query_id)): value.value
        for value in ir_measures.iter_calc([measure @ k for k in KS], relevant, lists)
    }
    assert ranking.users.tolist() == users
    assert len(set(expected.values())) > 1, "users have different figures"
    for k in KS:
        of_users = [expected[k, user] for user in users]
        assert ranking.user_metrics[f"{metric}@{k}"].tolist() == pytest.approx(of_users, abs=1e-6)
        assert ranking.figures()[f"{metric}@{k}"] == pytest.approx(sum(of_users) / len(users), abs=1e-6)


def test_lists_equal_a_full_sort(ranking):
    scores = (USERS @ ITEMS.T).tolist()
    for user, top in zip(ranking.users.tolist(), ranking.top.tolist(), strict=True):
        expected = sorted(candidates(user), key=lambda item: (-scores[user][item], item))[: KS[-1]]
        assert top == expected + [0] * (KS[-1] - len(expected))


def test_relevant_pairs_know_their_ranks(ranking):
    actual = list(zip(ranking.users[ranking.position].tolist(), ranking.item.tolist(), strict=True))
    assert actual == sorted(pairs(RELEVANT))
    tops = dict(zip(ranking.users.tolist(), ranking.top.tolist(), strict=True))
    expected = [1 + tops[user].index(item) if item in tops[user] else 0 for user, item in actual]
    assert ranking.rank.tolist() == expected
    assert 0 in expected


def test_coverage_and_overlap_are_those_of_the_lists(ranking):
    lists = ranking.top.tolist()
    for k in KS:
        cut = [set(items[:k]) - {0} for items in lists]
        assert ranking.list_figures[f"coverage@{k}"] == pytest.approx(len(set().union(*cut)) / (N_ITEMS - 1))
        shared = [len(one & other) / k for one, other in combinations(cut, 2)]
        assert ranking.list_figures[f"overlap@{k}"] == pytest.approx(sum(shared) / len(shared))


def test_popularity_is_the_mean_over_recommended_items(ranking):
    counts = COUNTS[1:].tolist()

    def percentile(item: int) -> float:
        less = sum(count < counts[item - 1] for count in counts)
        return (less + counts.count(counts[item - 1]) / 2) / len(counts)

    for k in KS:
        expected = [
            sum(map(percentile, known)) / len(known)
            for known in ([item for item in items[:k] if item] for items in ranking.top.tolist())
        ]
        assert ranking.user_metrics[f"popularity@{k}"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("users", "size"), [(512, 1), (7, 32 << 20), (1, 1)], ids=str)
def test_figures_do_not_depend_on_the_blocks(users, size, ranking, monkeypatch):
    monkeypatch.setattr(ranking_module, "USERS_AT_ONCE", users)
    monkeypatch.setattr(ranking_module, "BLOCK_BYTES", size)
    actual = rank(USERS, ITEMS, task())
    assert actual.figures() == ranking.figures()
    assert torch.equal(actual.top, ranking.top)
    assert torch.equal(actual.rank, ranking.rank)


def test_long_lists_make_small_blocks(monkeypatch):
    asked = []
    real = ranking_module.best_items

    def noted(users, *others, **options):
        asked.append(len(users))
        return real(users, *others, **options)

    monkeypatch.setattr(ranking_module, "best_items", noted)
    monkeypatch.setattr(ranking_module, "BLOCK_BYTES", 10 * ranking_module.BYTES_A_POSITION * KS[-1])
    rank(USERS, ITEMS, task())
    assert asked == [10, 10, 10, 1]


def test_lengths_come_in_any_order_and_more_than_once(ranking):
    actual = rank(USERS, ITEMS, task((12, 40, 1, 5, 12)))
    assert actual.ks == KS
    assert actual.figures() == ranking.figures()


def test_without_seen_items_a_list_can_hold_the_whole_catalogue():
    actual = rank(USERS, ITEMS, task((N_ITEMS - 1,), seen=False))
    assert (actual.top.sort(dim=1).values == torch.arange(1, N_ITEMS)).all()
    assert (actual.rank > 0).all()
    figures = actual.figures()
    names = ("recall", "hit_rate", "coverage", "overlap", "popularity")
    assert [figures[f"{name}@{N_ITEMS - 1}"] for name in names] == pytest.approx([1, 1, 1, 1, 0.5])


def test_one_user_has_nobody_to_overlap_with():
    one = torch.tensor([1])
    figures = rank(USERS, ITEMS, RankingTask(one, one, None, COUNTS, (1,))).figures()
    assert math.isnan(figures.pop("overlap@1"))
    assert not any(map(math.isnan, figures.values()))


def test_all_wrong_lengths_are_reported_at_once():
    with pytest.raises(ConfigError, match=r"K must be a whole number >= 1, got 0\.\n") as caught:
        rank(USERS, ITEMS, task((0, 5, 60)))
    assert "K must be at most the 59 items of the catalogue, got 60.\n    Ask for shorter lists." in str(caught.value)


def test_no_length_is_an_error():
    with pytest.raises(ConfigError, match=r"the lengths of lists must be at least one, got \[\]\.\n    Ask for one"):
        rank(USERS, ITEMS, task(()))


@pytest.mark.parametrize("events", [([], []), ([0], [3]), ([3], [0])], ids=["none", "unknown user", "unknown item"])
def test_nothing_to_rank_is_an_error(events):
    user, item = (torch.tensor(side, dtype=torch.int32) for side in events)
    with pytest.raises(DataError, match=r"^No event to rank has a known user and a known item\. Change the split"):
        rank(USERS, ITEMS, RankingTask(user, item, None, COUNTS, (1,)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1], ids=["users", "items"])
def test_vectors_of_a_diverged_model_are_not_ranked(side, value):
    factors = [USERS.clone(), ITEMS.clone()]
    factors[side][3, 1] = value
    with pytest.raises(TrainingError, match=r"^The model's vectors hold NaN or infinity and cannot be ranked\. Lower"):
        rank(*factors, task())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_ranking_on_a_gpu_equals_the_cpu(ranking):
    actual = rank(USERS.cuda(), ITEMS.cuda(), task())
    assert torch.equal(actual.top, ranking.top)
    assert actual.figures() == ranking.figures()


USER, ITEM = torch.tensor([1, 1, 2, 2, 1, 2, 1, 2]).int(), torch.tensor([1, 2, 1, 3, 3, 4, 4, 2]).int()
LABEL = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0])
SPLIT = Split(torch.arange(4).int(), torch.tensor([4, 5]).int(), torch.tensor([6, 7]).int())


def make_data() -> TwoTowerData:
    users, items = encode_table("user", {"user": [7, 8]}), encode_table("item", {"item": [1, 2, 3, 4]})
    schema = StarSchema(users, items, Interactions(USER, ITEM, {}), "")
    return TwoTowerData(schema, LABEL, SPLIT, batch_size=2, seed=0)


def test_positive_events_are_to_be_found_among_unseen_items():
    valid, test = (ranking_task(make_data(), part, [2]) for part in ("valid", "test"))
    assert (valid.user.tolist(), valid.item.tolist()) == ([1], [3])
    assert (test.user.tolist(), test.item.tolist()) == ([1], [4])
    everyone = torch.tensor([1, 2])
    # Items that were seen and not liked are left out too; of users who are not ranked nothing is kept.
    assert [values.tolist() for values in valid.seen.of(everyone)] == [[0, 0], [1, 2]]
    assert [values.tolist() for values in test.seen.of(everyone)] == [[0, 0, 0], [1, 2, 3]]


def test_popularity_counts_training_events():
    for part in ("valid", "test"):
        assert ranking_task(make_data(), part, [2]).counts.tolist() == [0, 2, 1, 1, 0]
