from __future__ import annotations

from pathlib import Path

import pytest

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.files import require_writable, whole_folder, write_whole, write_whole_with


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("before", [None, b"the earlier file"])
def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path, room_for, before):
    if before is not None:
        (tmp_path / "users.parquet").write_bytes(before)
    was = files(tmp_path)
    full = r"users\.parquet cannot be written: File too large\. Free space, or choose"
    with room_for(1000), pytest.raises(RunError, match=full):
        write_whole(tmp_path / "users.parquet", b"x" * 1001)
    assert files(tmp_path) == was
    with room_for(1000):
        write_whole(tmp_path / "users.parquet", b"x" * 1000)
    assert files(tmp_path) == {"users.parquet": b"x" * 1000}


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_gets_its_name_only_when_it_is_complete(tmp_path, fails):
    def writer(path: Path) -> None:
        assert path.parent == tmp_path, "a rename is atomic within one file system only"
        assert path.name != "users.parquet"
        path.write_text("whole")
        if fails:
            raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            write_whole_with(tmp_path / "users.parquet", writer)
    else:
        write_whole_with(tmp_path / "users.parquet", writer)
    assert files(tmp_path) == ({} if fails else {"users.parquet": b"whole"})


@pytest.mark.parametrize("use", [require_writable, lambda path: write_whole(path, "text")], ids=["before", "after"])
@pytest.mark.parametrize("target", ["/proc/towerzoo/x.png", "missing/x.png", "file/x.png", "folder", "."])
def test_a_path_that_cannot_be_written_is_reported(tmp_path, monkeypatch, target, use):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    with pytest.raises(RunError, match=rf"^{Path(target)} cannot be written: [A-Z][a-z ]+\. C"):
        use(Path(target))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_checked_path_is_left_as_it_was(tmp_path):
    (tmp_path / "there").write_text("before")
    for name in ("there", "new"):
        require_writable(tmp_path / name)
    assert files(tmp_path) == {"there": b"before"}


@pytest.mark.parametrize("before", [None, "full"])
@pytest.mark.parametrize("failure", [None, KeyboardInterrupt, ZeroDivisionError])
def test_a_folder_is_whole_or_as_it_was(tmp_path, before, failure):
    target = tmp_path / "deep" / "bundle"
    if before:
        target.mkdir(parents=True)
        (target / "earlier").write_text("earlier")
    was = sorted(tmp_path.rglob("*"))

    def fill() -> None:
        with whole_folder(target) as folder:
            (folder / "one").write_text("1")
            assert folder.parent == target.parent, "a rename is atomic within one file system only"
            if failure:
                raise failure

    if failure:
        with pytest.raises(failure):
            fill()
        assert sorted(tmp_path.rglob("*")) == was, "no folder above it is left either"
    else:
        fill()
        assert files(tmp_path) == {"deep/bundle/one": b"1"}
        assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_a_link_stays_and_its_folder_is_replaced(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "current").symlink_to("one")
    with whole_folder(tmp_path / "current") as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "current").is_symlink()
    assert files(tmp_path / "one") == {"file": b"new"}


@pytest.mark.parametrize("target", ["/proc/towerzoo/bundle", "file/bundle"])
def test_a_folder_that_cannot_be_made_is_reported(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(RunError, match=rf"{target} cannot be written: [A-Z]"), whole_folder(Path(target)):
        pytest.fail("there is no folder to fill")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
