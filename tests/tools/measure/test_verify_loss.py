from __future__ import annotations

import pytest

from towerzoo.tools.measure.verify_loss import SAMPLERS, main


def rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()[1:] if line.split()[-1] in ("agrees", "biased")]


def test_corrected_samplers_agree_with_the_full_softmax_and_others_do_not(invoke):
    result = invoke(main)
    assert result.exit_code == 0, result.output
    verdicts = [(row[-6], row[-1]) for row in rows(result.output)]
    corrected, uncorrected = ([verdict for logq, verdict in verdicts if logq == answer] for answer in ("yes", "no"))
    assert corrected == ["agrees"] * (len(SAMPLERS) - 1) + ["biased"], "items shown do not stand for the catalogue"
    assert uncorrected == ["agrees"] + ["biased"] * (len(SAMPLERS) - 1), "the catalogue leaves nothing to chance"


def test_samplers_are_written_as_in_yaml(invoke):
    result = invoke(main, "{name: popularity, n: 900}", "--items", "20", "--draws", "50")
    assert result.exit_code == 0, result.output
    assert [row[-1] for row in rows(result.output)] == ["agrees", "biased"]


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("unform", "loss.sampler must be a registered sampler, got 'unform'."),
        ("{name: uniform, n: 0}", "loss.sampler.n must be a whole number >= 1, got 0."),
    ],
)
def test_a_wrong_sampler_is_reported_as_in_a_config(invoke, sampler, message):
    result = invoke(main, sampler)
    assert result.exit_code == 1
    assert message in result.output


def test_custom_samplers_can_be_checked(invoke, tmp_path):
    part = tmp_path / "mine.py"
    part.write_text(
        "from towerzoo.registry import SAMPLERS\nfrom towerzoo.towers.losses.samplers import PopularitySampler\n"
        "@SAMPLERS.register('mine')\ndef mine(item_counts):\n"
        '    "A sampler."\n    return PopularitySampler(item_counts, n=500, power=0.5)\n'
    )
    result = invoke(main, "mine", "--import", part)
    assert result.exit_code == 0, result.output
    assert [row[-1] for row in rows(result.output)] == ["agrees", "biased"]
