import pytest
import torch

from towerzoo.benchmarks.peers.ml_1m_files import find_or_generate
from towerzoo.datasets import movielens_1m
from towerzoo.datasets.movielens.release import ML_1M
from towerzoo.registry.errors import DataError


def test_the_files_read_as_movielens(ml_1m, world, tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path))
    read = movielens_1m(root=str(ml_1m), offline=True).load()
    assert torch.equal(read.interactions.user, world.interactions.user)
    assert torch.equal(read.interactions.item, world.interactions.item)
    assert torch.equal(read.interactions.timestamp, world.interactions.timestamp)
    assert torch.equal(read.interactions.feedback["rating"], world.interactions.feedback["rating"])
    assert read.items.texts["title"] == world.items.texts["title"]

    def genres(schema):
        column = schema.items.columns["genres"]
        return [column.vocabulary.decode(row) for row in column.values.tolist()]

    assert [set(row) for row in genres(read)] == [set(row) for row in genres(world)]


def test_the_folder_that_is_named(ml_1m, tmp_path):
    assert find_or_generate(ml_1m, tmp_path) == (ml_1m, "1500 events in the layout of movielens-1m")


def test_the_folder_of_the_environment(ml_1m, tmp_path, monkeypatch):
    (tmp_path / "ml-1m").symlink_to(ml_1m)
    monkeypatch.setenv("TOWERZOO_DATA", str(tmp_path))
    assert find_or_generate(None, tmp_path)[0] == tmp_path / "ml-1m"


@pytest.mark.parametrize("value", ["", "/nowhere"])
def test_else_data_is_generated(tmp_path, monkeypatch, value):
    monkeypatch.setenv("TOWERZOO_DATA", value)
    assert find_or_generate(None, tmp_path, events=1000) == (tmp_path, "synthetic, 1000 events")
    assert all((tmp_path / name).is_file() for name in ML_1M.files)


def test_a_folder_without_the_files(tmp_path):
    (tmp_path / "users.dat").touch()
    message = r"--data must be a folder with users.dat, .*, got '.*' without movies.dat, ratings.dat\. Unpack ml-1m.zip"
    with pytest.raises(DataError, match=message):
        find_or_generate(tmp_path, tmp_path)
