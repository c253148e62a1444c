from __future__ import annotations

import json
import re

import pytest

from towerzoo.benchmarks.measure import result_file
from towerzoo.benchmarks.measure.record import PairedRatio
from towerzoo.benchmarks.measure.result_file import read_result, read_results, write_result
from towerzoo.registry.errors import RunError


@pytest.fixture
def file(tmp_path, make_result):
    return write_result(make_result(), tmp_path / "made" / "results")


def test_a_result_goes_round(tmp_path, make_record, make_result):
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


def test_a_suite_a_device_and_a_version_of_torch_have_one_file(make_result):
    versions = {"packages": {"torch": "2.13.0+cpu"}}
    assert make_result(device="cpu (AMD EPYC)", **versions).file_name == "training-cpu-torch2.13.0.json"
    assert make_result(device="cuda (H100)", suite="towers", **versions).file_name == "towers-cuda-torch2.13.0.json"


def test_no_name_of_the_machine_is_in_it(file):
    import platform

    assert platform.node() not in re.findall(r"[\w.-]+", file.read_text())


def spoilt(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return file


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda file: file.unlink(), r"must be a result file that can be read, got 'No such file or directory'\. Give"),
        (
            lambda file: file.write_text(file.read_text()[:-100]),
            r"must be a whole result file in JSON, got '.+ line \d+ column \d+.*'\. Measure again with tools/benchmark",
        ),
        (lambda file: file.write_bytes(b"\xff\xfe"), r"must be a whole result file in JSON, got .*codec.*\. Measure"),
        (lambda file: file.write_text("[1]"), r"must be a result file of format 'towerzoo-benchmarks', got 'list'\."),
        (
            lambda file: file.write_text('{"benchmarks": []}'),
            r"must be a result file of format 'towerzoo-benchmarks', got None\. Measure again",
        ),
        (
            lambda file: file.write_text("[" * 100_000),
            r"must be a whole result file in JSON, got 'maximum recursion depth",
        ),
        (lambda file: spoilt(file, version=0), r"must be a result file of version 1, got 0\. Measure again .* commit"),
        (lambda file: spoilt(file, version=2), r"must be a result file of version 1, got 2\."),
        (lambda file: spoilt(file, records=[]), r"must hold records, got none\. Measure again"),
        (lambda file: spoilt(file, records=[{}]), r": records\.0\.suite must be as a result file has it, got 'Field"),
        (lambda file: spoilt(file, host="me"), r": host must be as a result file has it, got 'Extra inputs"),
    ],
)
def test_a_wrong_file_is_told(file, spoil, expected):
    spoil(file)
    with pytest.raises(RunError, match=f"^{re.escape(str(file))}:? ?{expected.removeprefix(': ')}"):
        read_result(file)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_value_that_ratios_cannot_be_made_of_is_refused(file, value):
    content = json.loads(file.read_text())
    content["records"][0]["value"] = value
    file.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"records\.0\.value must be as a result file has it, got 'Input should be"):
        read_result(file)


def test_a_median_outside_of_its_spread_is_refused(file):
    content = json.loads(file.read_text())
    spread = {"ratio": 2.0, "lowest": 3.0, "highest": 4.0}
    for changes in ({"lowest": 10_001.0}, {"pair": {"baseline": 1.0, "target": 1.0, **spread}}):
        spoilt(file, records=[content["records"][0] | changes])
        expected = r"records\.0.* must be as a result file has it, got 'Value error, the median must lie from lowest"
        with pytest.raises(RunError, match=expected):
            read_result(file)


def test_a_folder_that_cannot_be_made_is_told(tmp_path, make_result):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/results must be a folder that can be written, got 'Not a directory'\."):
        write_result(make_result(), tmp_path / "file" / "results")


def test_without_files_all_that_are_checked_in_are_read(tmp_path, monkeypatch, make_result, make_record):
    monkeypatch.setattr(result_file, "results_folder", lambda: tmp_path)
    with pytest.raises(RunError, match=r"^FILES must be result files, got none in '.*'\. Make some with tools/bench"):
        read_results([])
    for suite in ("training", "loading"):
        write_result(make_result(suite=suite), tmp_path)
    assert [result.suite for result in read_results([])] == ["loading", "training"]


def test_checked_in_results_can_be_read():
    for file in result_file.results_folder().glob("*.json"):
        assert read_result(file).file_name == file.name
