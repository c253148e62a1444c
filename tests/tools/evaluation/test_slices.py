from __future__ import annotations

import json

import pytest

from towerzoo.tools.test import main


def test_all_columns_that_there_are_not_are_told_at_once(invoke, finished_run):
    before = (finished_run / "metrics.json").read_bytes()
    options = ("--mask", "gendr", "--mask", "title", "--mask", "popularity", "--by", "titel", "--by", "gender")
    result = invoke(main, finished_run, *options, "--device", "cpu")
    assert result.exit_code == 1
    first, second, third = result.output.splitlines()
    assert first.startswith("error: --mask must be a column of users or items, got 'gendr'. Did you mean 'gender'?")
    assert second.startswith("--mask must be a column of users or items, got 'popularity'. Known: age,")
    assert third.startswith("--by must be a column of ids of users or items, got 'titel'. Did you mean 'title'? Known:")
    assert (finished_run / "metrics.json").read_bytes() == before


def test_a_masked_test_differs_and_stores_nothing(invoke, finished_run):
    before = json.loads((finished_run / "metrics.json").read_text())
    result = invoke(main, finished_run, "--mask", "movie_id", "--mask", "user_id", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "unknown to the model: movie_id, user_id; nothing was stored." in result.output
    assert json.loads((finished_run / "metrics.json").read_text()) == before
    assert f"{before['test']['loss']:.4f}" not in result.output.split("constant")[0]


def test_slices_are_shown_and_stored(invoke, finished_run):
    result = invoke(main, finished_run, "--by", "gender", "--device", "cpu")
    assert result.exit_code == 0, result.output
    stored = json.loads((finished_run / "metrics.json").read_text())["slices"]["gender"]
    assert set(stored) == {"F", "M"}
    assert f"{stored['F']['auc']:.4f}" in result.output


@pytest.mark.parametrize("options", [("--checkpoint", "x.ckpt", "--by", "gender"), ("--mask", "gender", "--check")])
def test_options_that_exclude_each_other_are_refused(invoke, finished_run, options):
    result = invoke(main, finished_run, *options)
    assert result.exit_code == 2
    assert "cannot be given with" in result.output
