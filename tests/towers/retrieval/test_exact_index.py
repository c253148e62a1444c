from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from towerzoo.registry import INDEXES
from towerzoo.registry.errors import ConfigError, ExtraError, SearchError
from towerzoo.towers.retrieval import faiss_index, over_fetching
from towerzoo.towers.retrieval.best_items import best_items
from towerzoo.towers.retrieval.exact_index import measure_recall
from towerzoo.towers.retrieval.faiss_index import FaissIndex
from towerzoo.towers.retrieval.over_fetching import over_fetch
from towerzoo.towers.retrieval.seen_items import SeenItems

N_USERS, N_ITEMS, K = 40, 500, 10
EXACT = [{"name": "exact"}, {"name": "faiss", "factory": "Flat"}, {"name": "qdrant"}]
NEAR = [
    "HNSW32,Flat",
    "IVF8,Flat",
    "PQ4x4",
    "IVF8,PQ4x4",
    "PCA6,IVF8,Flat",
]


def floats(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def items():
    """Vectors of very different lengths, as with popularity biases."""
    return floats(N_ITEMS, 12) * torch.linspace(0.3, 2, N_ITEMS).unsqueeze(1)


@pytest.fixture(scope="module")
def users():
    return floats(N_USERS, 12, seed=1)


@pytest.fixture(scope="module")
def seen():
    """From none to all but three of the items per user."""
    numbers = torch.rand(N_USERS, N_ITEMS - 4, generator=torch.Generator().manual_seed(2))
    user, item = (numbers < torch.linspace(0, 1.01, N_USERS).unsqueeze(1)).nonzero(as_tuple=True)
    return SeenItems(user, item + 1, N_USERS), torch.arange(N_USERS)


def assert_same(top, expected):
    assert torch.equal(top.items, expected.items)
    torch.testing.assert_close(top.scores, expected.scores)


@pytest.mark.parametrize("spec", EXACT, ids=lambda spec: spec["name"])
@pytest.mark.parametrize("share", [None, 0.9, 0.02, 0.0])
@pytest.mark.parametrize("with_seen", [False, True])
def test_indexes_that_score_every_item_equal_exact_search(items, users, seen, spec, share, with_seen):
    index = INDEXES.build(spec, item_vectors=items)
    allowed = None if share is None else torch.arange(N_ITEMS) % 50 < share * 50
    left_out = {"seen": seen if with_seen else None, "allowed": allowed}
    assert_same(index.search(users, K, **left_out), best_items(users, items, K, **left_out))


@pytest.mark.parametrize("factory", NEAR)
def test_approximate_lists_are_full_filtered_and_exactly_scored(items, users, seen, factory):
    index = FaissIndex(items, factory=factory)
    allowed = torch.arange(N_ITEMS) % 3 > 0
    top = index.search(users, K, seen=seen, allowed=allowed)
    exact = best_items(users, items, K, seen=seen, allowed=allowed)
    assert torch.equal(top.items > 0, exact.items > 0), "lists are as long as they can be"
    for user, rows in enumerate(top.items.tolist()):
        rows = [row for row in rows if row]
        assert len(set(rows)) == len(rows)
        assert not set(seen[0].of(torch.tensor([user]))[1].tolist()) & set(rows)
        assert all(allowed[row] for row in rows)
        torch.testing.assert_close(top.scores[user, : len(rows)], items[rows] @ users[user])
    assert (top.scores.diff(dim=1)[:, : K - 1].nan_to_num(0.0) <= 0).all()


def test_more_effort_finds_more(items, users):
    def recall(factory: str, parameters: str) -> float:
        return measure_recall(FaissIndex(items, factory=factory, parameters=parameters), users, K).recall

    assert recall("IVF32,Flat", "nprobe=1") < 0.9
    assert recall("IVF32,Flat", "nprobe=32") == 1.0
    assert recall("HNSW32,Flat", "efConstruction=200,efSearch=400") > 0.9


@pytest.mark.parametrize("spec", [*EXACT, {"name": "faiss", "factory": "HNSW16,Flat", "parameters": "efSearch=600"}])
def test_indexes_with_added_items_and_loaded_ones_equal_those_built_whole(items, users, spec, tmp_path):
    name, parameters = INDEXES.split(spec)
    path = tmp_path / "index"
    index = INDEXES.build(spec, item_vectors=items[:400])
    index.add(items[400:])
    expected = best_items(users, items, K)
    assert_same(index.search(users, K), expected)
    index.save(path)
    assert_same(INDEXES.get(name).load(path, items, **parameters).search(users, K), expected)


@pytest.mark.parametrize("name", ["exact", "faiss"])
def test_the_lower_row_comes_first_among_equal_scores(name):
    items = torch.ones(9, 5)
    parameters = {"factory": "Flat"} if name == "faiss" else {}
    index = INDEXES.build({"name": name, **parameters}, item_vectors=items)
    assert index.search(floats(3, 5, seed=1), 8).items.tolist() == [[*range(1, 9)]] * 3


@pytest.mark.parametrize("name", INDEXES.names())
def test_vectors_that_cannot_be_searched_are_rejected(name):
    with pytest.raises(SearchError, match=r"at least one row after the unknown item's, got shape \(1, 3\)"):
        INDEXES.build(name, item_vectors=torch.ones(1, 3))
    with pytest.raises(SearchError, match="must be finite, got 1 of 5 with NaN or infinity"):
        INDEXES.build(name, item_vectors=torch.ones(5, 3).index_fill(0, torch.tensor([2]), float("nan")))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"factory": "Bogus"},
            r"factory of index 'faiss' must be a FAISS factory string .* of 12 numbers, got 'Bogus'",
        ),
        ({"factory": "Bogus"}, "FAISS says: could not parse index string Bogus. Try 'HNSW32,Flat'"),
        ({"factory": "IDMap2,Flat"}, "must be a FAISS factory string of a structure that numbers its vectors"),
        (
            {"parameters": "nprobe=4"},
            "(?s)parameters of index 'faiss' must be NAME=NUMBER, .*could not set parameter nprobe",
        ),
        ({"parameters": "efSearch"}, "FAISS says: .*could not interpret parameters efSearch. Try 'efSearch=256'"),
    ],
)
def test_faiss_reasons_are_reported(items, parameters, message):
    with pytest.raises(ConfigError, match=message):
        FaissIndex(items, **parameters)


@pytest.mark.parametrize("factory", ["IVF4096,Flat", "PQ4x10"])
def test_too_few_items_to_train_on_are_reported(items, factory):
    with pytest.raises(SearchError, match=rf"cannot train '{factory}' on 499 items: .* Use fewer cells or bits"):
        FaissIndex(items, factory=factory)


@pytest.mark.parametrize(("name", "module"), [("faiss", "faiss"), ("qdrant", "qdrant_client")])
def test_a_missing_library_is_reported_with_its_extra(name, module, items, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == module else find(wanted))
    with pytest.raises(ExtraError, match=rf"^{module} must be installed to search with .*towerzoo\[{name}\]"):
        INDEXES.build(name, item_vectors=items)


def test_a_damaged_file_and_one_of_other_items_are_rejected(items, tmp_path):
    path = tmp_path / "index"
    FaissIndex(items, factory="Flat").save(path)
    with pytest.raises(SearchError, match=r"must hold 399 vectors of length 12, got 499 of length 12"):
        FaissIndex.load(path, items[:400], factory="Flat")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SearchError, match=r"FAISS cannot read .*index: "):
        FaissIndex.load(path, items, factory="Flat")


def test_a_database_that_does_not_answer_is_reported(items, tmp_path):
    with pytest.raises(SearchError, match=r"Qdrant at http://127.0.0.1:9 did not answer .*refused"):
        INDEXES.build({"name": "qdrant", "url": "http://127.0.0.1:9"}, item_vectors=items)
    with pytest.raises(SearchError, match="does not name a Qdrant collection"):
        INDEXES.get("qdrant").load(tmp_path / "none", items, url="http://127.0.0.1:9")


def test_over_fetching_is_bounded(items, users, seen, monkeypatch):
    monkeypatch.setattr(over_fetching, "FETCHED_AT_MOST", 100)
    calls = []

    def find(chunk, n):
        calls.append((len(chunk), n))
        return best_items(chunk, items, n)

    assert_same(over_fetch(find, users, items, K, seen=seen), best_items(users, items, K, seen=seen))
    assert [n for _, n in calls] == [20, 80]
    assert calls[0][0] == N_USERS > calls[1][0] > 0


def test_faiss_uses_as_many_threads_as_torch_in_one_process(items, users):
    """Both bring OpenMP: they must work side by side in any thread and not change each other's threads."""
    faiss = faiss_index._library()
    index = FaissIndex(items, factory="HNSW32,Flat", parameters="efSearch=600")
    expected, before = best_items(users, items, K), torch.get_num_threads()

    def search(_: int) -> None:
        for _ in range(20):
            assert_same(index.search(users @ torch.eye(12), K), expected)
        assert faiss.omp_get_max_threads() == 2

    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(search, range(3)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
