"""Where the files of a release are found, and downloads from a real server on this machine."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from towerzoo.datasets.movielens import release as module
from towerzoo.datasets.movielens.release import ML_1M, ML_100K, Release, find
from towerzoo.registry.errors import DataError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("TOWERZOO_DATA", raising=False)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_fetch", lambda *args: pytest.fail("went to the network"))


@pytest.fixture
def served() -> Iterator[tuple[Release, list[str]]]:
    """A release whose URLs give status 404, other bytes and the archive, in this order; and the requests so far."""
    buffer, requests = io.BytesIO(), []
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ML_1M.files:
            archive.writestr(f"ml-1m/{name}", name)
    answers = {"/bad": b"other bytes", "/good": buffer.getvalue()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{name}" for name in ("missing", "bad", "good"))
        yield replace(ML_1M, sha256=hashlib.sha256(answers["/good"]).hexdigest(), urls=urls), requests
        server.shutdown()
        thread.join()


def fill(folder: Path, release: Release = ML_1M) -> Path:
    folder.mkdir(parents=True)
    for name in release.files:
        (folder / name).touch()
    return folder


def test_root_is_never_filled(tmp_path, no_network):
    root = fill(tmp_path / "ml")
    assert find(ML_1M, str(root), offline=False) == root
    (root / "users.dat").unlink()
    message = r"data\.root must be a folder with users\.dat, .* without users\.dat\. Put the files there"
    with pytest.raises(DataError, match=message):
        find(ML_1M, str(root), offline=False)
    with pytest.raises(DataError, match=r"got '.*nowhere' without users\.dat, movies\.dat, ratings\.dat"):
        find(ML_1M, str(tmp_path / "nowhere"), offline=False)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("release", [ML_1M, ML_100K])
def test_folder_of_the_environment(tmp_path, monkeypatch, no_network, release):
    monkeypatch.setenv("TOWERZOO_DATA", str(tmp_path / "data"))
    folder = fill(tmp_path / "data" / release.folder, release)
    assert find(release, None, offline=False) == folder
    (folder / release.files[0]).unlink()
    with pytest.raises(DataError, match=rf"^\$TOWERZOO_DATA/{release.folder} must be a folder .*\. Put them there"):
        find(release, None, offline=False)


def test_offline_never_downloads_and_lists_the_folders_searched(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TOWERZOO_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match="movielens-1m must be on this machine when offline is true") as caught:
        find(ML_1M, None, offline=True)
    searched = f"{tmp_path / 'data' / 'ml-1m'} or {tmp_path / 'cache' / 'downloads' / 'ml-1m'}"
    assert f"in {searched}. Remove offline" in str(caught.value)
    assert "$TOWERZOO_DATA/ml-1m/users.dat" in str(caught.value)


def test_mirrors_are_tried_in_turn_and_once(tmp_path, served):
    release, requests = served
    folder = find(release, None, offline=False)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: name for name in ML_1M.files}
    assert list(folder.parent.iterdir()) == [folder]
    assert find(release, None, offline=True) == folder
    assert requests == ["/missing", "/bad", "/good"]


def test_concurrent_downloads_leave_whole_files(served):
    release, _ = served
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: find(release, None, offline=False), range(4)))
    assert {path.name: path.read_text() for path in folders[0].iterdir()} == {name: name for name in ML_1M.files}


def test_failed_download_gives_all_reasons_and_advice(served):
    release, _ = served
    with pytest.raises(DataError) as caught:
        find(replace(release, urls=(*release.urls[:2], "http://127.0.0.1:9/x")), None, offline=False)
    first, missing, bad, refused, advice = str(caught.value).splitlines()
    assert first == "movielens-1m cannot be downloaded."
    assert "/missing: 404" in missing
    assert "/bad: SHA256 hash" in bad
    assert "refused" in refused
    assert "set TOWERZOO_DATA to a folder of your choice" in advice


def test_unwritable_cache(tmp_path, no_network):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError, match=r"downloads cannot be written \(.*\)\. Set TOWERZOO_CACHE"):
        find(ML_1M, None, offline=False)
