from __future__ import annotations

import pytest

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.epochs import read_epochs, write_epochs
from towerzoo.towers.runs.folder import RunFolder

COLUMNS = ["epoch", "train/loss", "valid/loss", "valid/auc", "seconds", "samples_per_second"]
HEAD = ",".join(COLUMNS)
ROW = ",".join(["0"] * len(COLUMNS))


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_rows_come_back_to_the_bit(run):
    rows = [dict.fromkeys(COLUMNS, 1 / 3) | {"epoch": epoch} for epoch in range(2)]
    write_epochs(run, rows)
    assert read_epochs(run) == rows
    assert all(isinstance(row["epoch"], int) for row in read_epochs(run))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it has no column epoch, samples_per_second, seconds"),
        ("a,b\n1,2\n", "it has no column epoch, samples_per_second, seconds"),
        (f"{HEAD}\n{ROW}\n0,0.5", "float"),
        (f"{HEAD}\n{ROW},7\n", "float"),
        (f"{HEAD}\n{'x' + ROW}\n", "invalid literal"),
        (f'{HEAD}\n"{ROW}', "unexpected end"),
        (b"\xff\xfe", "codec can't decode"),
    ],
    ids=["empty", "foreign", "short row", "long row", "text", "open quote", "binary"],
)
def test_a_damaged_file_is_reported(run, content, reason):
    (run.path / "epochs.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=rf"epochs\.csv is damaged: .*{reason}.*\. Copy the run folder again"):
        read_epochs(run)


def test_a_missing_file_is_reported(run):
    with pytest.raises(RunError, match=rf"^{run.path} has no epochs\.csv\. Finish the run"):
        read_epochs(run)
