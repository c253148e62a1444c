from __future__ import annotations

import errno
import hashlib

import pytest

from towerzoo.registry.errors import RunError, one_line
from towerzoo.registry.files import file_digest, os_errors_as, os_problem


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "x"), "runs/a cannot be written: No space left on device. Free space, or choose"),
        (OSError(errno.EACCES, "x"), "runs/a cannot be written: Permission denied. Change its permissions, or choose"),
        (OSError(errno.ENOENT, "x"), "runs/a cannot be written: No such file or directory. Check the path."),
        (OSError(errno.EISDIR, "x"), "runs/a cannot be written: Is a directory. Choose another path."),
        # As pyarrow raises them.
        (OSError("Cannot write. Detail: [errno 28] No space"), "runs/a cannot be written: No space left on device."),
        (OSError("a broken\n  pipe."), "runs/a cannot be written: a broken pipe. Choose another path."),
    ],
)
def test_the_advice_suits_the_error(error, expected):
    assert os_problem(error, "runs/a").startswith(expected)
    assert os_problem(error, "runs/a", advice="Ask for help.").endswith(". Ask for help.")


def test_only_errors_of_the_operating_system_are_turned(tmp_path):
    with pytest.raises(RunError, match=r"^here cannot be read: No such file"), os_errors_as(RunError, "here", "read"):
        (tmp_path / "missing").stat()
    with pytest.raises(ZeroDivisionError), os_errors_as(RunError, "here"):
        _ = 1 / 0


def test_a_digest_is_that_of_all_blocks(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_reason_is_one_line_even_without_a_message():
    assert [one_line(error) for error in (ValueError(" two\n lines. "), KeyError())] == ["two lines", "KeyError"]
