"""Downloads against a real server on this machine: resuming, bad bytes, bad archives."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from towerzoo.datasets.movielens import download
from towerzoo.datasets.movielens.download import extract, fetch, locked
from towerzoo.registry.errors import DataError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server does, and what it was asked: one (path, Range) a request."""

    url: str = ""
    ranges: bool = True
    wrong_range: bool = False
    lengthless: bool = False
    cut_after: int | None = None
    content: bytes = CONTENT
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            if self.path == "/missing":
                self.send_error(404)
                return
            content = CONTENT[::-1] if self.path == "/other" else state.content
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                first = start + 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            if not state.lengthless:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : state.cut_after])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as real:
        thread = threading.Thread(target=real.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{real.server_port}"
        yield state
        real.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.zip"


def part_of(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f"{target.name}.part")


def test_fetches_whole_file_and_says_so_on_stderr(server, target, capsys):
    assert fetch([f"{server.url}/file"], target, sha256=SHA256) == target
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"Downloading {server.url}/file: 1.0 of 1.0 MB\n"


def test_progress_is_rewritten_in_a_terminal(server, target, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    server.lengthless = True
    fetch([f"{server.url}/file"], target, sha256=SHA256)
    error = capsys.readouterr().err
    assert error.startswith("\rDownloading")
    assert error.endswith("1.0 MB\n")
    assert " of " not in error


def test_goes_on_to_the_next_url(server, target):
    fetch([f"{server.url}/missing", f"{server.url}/other", f"{server.url}/file"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/missing", "/other", "/file"]


def test_interrupted_transfer_is_resumed(server, target):
    server.cut_after = 300_000
    with pytest.raises(DataError, match=r"file: the connection closed after 300,000 of 1,024,000 bytes"):
        fetch([f"{server.url}/file"], target, sha256=SHA256)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    server.cut_after = None
    fetch([f"{server.url}/file"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", "bytes=300000-")


def test_interrupted_transfer_is_resumed_from_the_mirror(server, target):
    part_of(target).write_bytes(CONTENT[:1000])
    fetch([f"{server.url}/missing", f"{server.url}/file"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", "bytes=1000-")


def test_server_without_ranges_sends_everything(server, target):
    server.ranges = False
    part_of(target).write_bytes(CONTENT[:1000])
    fetch([f"{server.url}/file"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_answer_with_another_range_is_refused_and_the_part_kept(server, target):
    server.wrong_range = True
    part_of(target).write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match="another range than asked for: 'bytes 1001-"):
        fetch([f"{server.url}/file"], target, sha256=SHA256)
    assert part_of(target).read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 5])
def test_bad_part_is_thrown_away(server, target, size):
    part_of(target).write_bytes(b"x" * size)
    fetch([f"{server.url}/file"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [f"bytes={size}-", None]


def test_whole_part_needs_no_network(target):
    part_of(target).write_bytes(CONTENT)
    fetch(["http://127.0.0.1:9/file"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_wrong_digest_is_refused(server, target):
    with pytest.raises(DataError, match="other: other bytes than expected, SHA-256 "):
        fetch([f"{server.url}/other"], target, sha256=SHA256)
    assert list(target.parent.iterdir()) == []


def test_all_reasons_and_the_advice_are_given(server, target):
    urls = [f"{server.url}/missing", "http://127.0.0.1:9/x", "file:///etc/hostname"]
    with pytest.raises(DataError) as caught:
        fetch(urls, target, sha256=SHA256, advice="Put it there by hand.")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"file.zip must come with SHA-256 {SHA256[:12]}... from one of 3 URLs, got it from none."
    assert lines[1].endswith("/missing: HTTP status 404 Not Found")
    assert "refused" in lines[2]
    assert lines[3].endswith("not an http or https URL")
    assert lines[4] == "    Put it there by hand."


def test_server_that_talks_nonsense_or_nothing(server, target, monkeypatch):
    class Broken:
        status = 200
        headers = http.client.HTTPMessage()

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def read(self, size):
            raise TimeoutError("timed out")

    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *args, **kwargs: Broken())
    with pytest.raises(DataError, match=r"x: timed out"):
        fetch(["http://127.0.0.1/x"], target, sha256=SHA256)

    def hang(*args, **kwargs):
        raise TimeoutError

    monkeypatch.setattr(download.urllib.request, "urlopen", hang)
    with pytest.raises(DataError, match=r"x: TimeoutError"):
        fetch(["http://127.0.0.1/x"], target, sha256=SHA256)


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"must be a folder that can be written.*Set TOWERZOO_CACHE"):
        fetch([f"{server.url}/file"], tmp_path / "file" / "x.zip", sha256=SHA256)
    assert server.asked == []


def make_zip(path: Path, members: dict[str, str], *, link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in members.items():
            bundle.writestr(name, text)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            bundle.writestr(member, "/etc/passwd")
    return path


def test_extracts_the_folder_and_replaces_an_incomplete_one(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"inner/a.txt": "A", "inner/sub/b.txt": "B", "beside.txt": "no"})
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    extract(archive, target, folder="inner")
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*")) == ["a.txt", "sub", "sub/b.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "out"]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "inner/../../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt", "\\evil.txt"]
)
def test_member_that_would_leave_the_target_is_refused(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {"inner/a.txt": "A", name: "evil"})
    with pytest.raises(DataError, match=r"a member must be a file or folder inside .*evil.txt'. Nothing was unpacked"):
        extract(archive, tmp_path / "out", folder="inner")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    assert not (tmp_path.parent / "evil.txt").exists()


def test_link_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"inner/a.txt": "A"}, link="inner/link")
    with pytest.raises(DataError, match="got 'inner/link'"):
        extract(archive, tmp_path / "out", folder="inner")


def test_archive_without_the_folder(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"inner/a.txt": "A"})
    with pytest.raises(DataError, match=r"a.zip must be a zip file with a folder 'other', got none"):
        extract(archive, tmp_path / "out", folder="other")


def test_damaged_archive(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"inner/a.txt": "A" * 1000})
    content = archive.read_bytes()
    archive.write_bytes(content[:45] + b"\xff\xff\xff" + content[48:])
    with pytest.raises(DataError, match=r"a.zip must be a whole zip file, got"):
        extract(archive, tmp_path / "out", folder="inner")
    archive.write_bytes(content[:50])
    with pytest.raises(DataError, match=r"a.zip must be a whole zip file, got"):
        extract(archive, tmp_path / "out", folder="inner")


def test_extract_where_nothing_can_be_written(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"inner/a.txt": "A"})
    with pytest.raises(DataError, match="must be a folder that can be written"):
        extract(archive, tmp_path / "none" / "out", folder="inner")


def test_lock_lets_one_in_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    order = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(5)
        thread.join(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_lock_that_cannot_be_made_lets_everybody_in(tmp_path):
    (tmp_path / "file").write_text("")
    with locked(tmp_path / "file" / "lock"):
        pass
