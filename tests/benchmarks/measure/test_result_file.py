from __future__ import annotations

import json
import platform
import re

import pytest

from towerzoo.benchmarks.measure import result_file
from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.measure.result_file import read_result, read_results, write_result
from towerzoo.registry.errors import RunError


@pytest.fixture
def file(tmp_path, make_result):
    return write_result(make_result(), tmp_path / "made" / "results")


def test_a_result_survives_a_round_trip(tmp_path, make_record, make_result):
    pair = PairedRatio(baseline=5.0, ratio=2.0, lowest=1.9, highest=2.1, target=1.35)
    result = make_result(
        make_record(flops=2e6, roofline_share=0.3, peak_memory=0, breakdown={"dropout": 0.0}, pair=pair),
        make_record(params={"unique": True, "precision": "bf16", "rows": 10_000_000}),
        commit=None,
        roofline=None,
    )
    file = write_result(result, tmp_path)
    assert read_result(file) == result
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_file_is_named_by_suite_device_and_version_of_torch(make_result):
    versions = {"packages": {"torch": "2.13.0+cpu"}}
    assert make_result(device="cpu (AMD EPYC)", **versions).file_name == "training-cpu-torch2.13.0.json"
    assert make_result(device="cuda (H100)", suite="towers", **versions).file_name == "towers-cuda-torch2.13.0.json"


def test_a_file_does_not_hold_the_machine_s_name(file):
    assert platform.node() not in re.findall(r"[\w.-]+", file.read_text())


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda file: file.unlink(), "No such file or directory"),
        (lambda file: file.write_text(file.read_text()[:-100]), "Invalid JSON"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "Invalid JSON"),
        (lambda file: file.write_text("[1]"), "Input should be an object"),
        (lambda file: file.write_text('{"benchmarks": []}'), "suite: Field required"),
        (lambda file: changed(file, format="other"), "format: Input should be 'towerzoo-benchmarks'"),
        (lambda file: changed(file, version=2), "version: Input should be 1"),
        (lambda file: changed(file, records=[]), "records: List should have at least 1 item"),
        (lambda file: changed(file, host="me"), "host: Extra inputs are not permitted"),
        *(
            (lambda file, value=value: changed_record(file, value=value), "records.0.value: Input should be")
            for value in (0.0, -1.0, float("nan"), float("inf"))
        ),
        (lambda file: changed_record(file, lowest=10_001.0), "the median must lie between lowest and highest"),
        (
            lambda file: changed_record(
                file, pair={"baseline": 1.0, "target": 1.0, "ratio": 2.0, "lowest": 3.0, "highest": 4.0}
            ),
            "the median must lie between lowest and highest",
        ),
    ],
)
def test_an_invalid_file_is_refused(file, spoil, expected):
    spoil(file)
    with pytest.raises(RunError) as raised:
        read_result(file)
    assert str(raised.value).startswith(f"{file} must be a result file of this version of TowerZoo, got ")
    assert expected in str(raised.value)
    assert "Measure again with tools/measure/benchmark.py run" in str(raised.value)


def changed(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def changed_record(file, **changes):
    (record,) = json.loads(file.read_text())["records"]
    changed(file, records=[record | changes])


def test_a_folder_that_cannot_be_created(tmp_path, make_result):
    (tmp_path / "file").write_text("")
    for folder, reason in (("file", "File exists"), ("file/results", "Not a directory")):
        with pytest.raises(RunError, match=rf"{folder} cannot be created: {reason}\."):
            write_result(make_result(), tmp_path / folder)


def test_without_files_all_checked_in_results_are_read(tmp_path, monkeypatch, make_result, make_record):
    monkeypatch.setattr(result_file, "results_folder", lambda: tmp_path)
    with pytest.raises(
        RunError, match=r"^There are no result files in .*\. Make some with tools/measure/benchmark.py run"
    ):
        read_results([])
    for suite in ("training", "loading"):
        write_result(make_result(suite=suite), tmp_path)
    assert [result.suite for result in read_results([])] == ["loading", "training"]
