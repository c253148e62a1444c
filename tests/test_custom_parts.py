"""A person's own parts, registered in one file outside the package and named in her YAML."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from towerzoo.registry.errors import PartError
from towerzoo.tools import show_config as show_tool
from towerzoo.tools import test as test_tool
from towerzoo.tools import train as train_tool

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_example_trains_and_beats_the_baselines(tmp_path):
    result = CliRunner().invoke(train_tool.main, [str(EXAMPLES / "custom_block.yaml"), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for shown in ("LayerNorm((32,)", "GELU(", "listener 8, country 8", "item mean"):
        assert shown in result.output
    (run,) = tmp_path.glob("*/*")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["auc"] > metrics["baselines"]["item mean"]["auc"]
    assert (run / "imports" / "custom_block.py").read_text() == (EXAMPLES / "custom_block.py").read_text()


def test_a_run_needs_nothing_but_its_folder(tmp_path):
    """Trained from a folder that is gone when another process tests the run."""
    source = Path(shutil.copytree(EXAMPLES, tmp_path / "source"))
    short = ["--set", "training.max_epochs=1", "--out", str(tmp_path / "runs")]
    result = CliRunner().invoke(train_tool.main, [str(source / "custom_block.yaml"), *short])
    assert result.exit_code == 0, result.output
    shutil.rmtree(source)
    (run,) = (tmp_path / "runs").glob("*/*")
    trained = json.loads((run / "metrics.json").read_text())["test"]
    command = [sys.executable, str(Path(test_tool.__file__)), str(run)]
    tested = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert json.loads((run / "metrics.json").read_text())["test"] == trained


def test_a_file_that_failed_half_way_can_be_mended_in_the_same_process(tmp_path):
    parts = tmp_path / "parts.py"
    text = "import torch\nfrom towerzoo.registry import ACTIVATIONS\nACTIVATIONS.register('mine')(torch.nn.Mish)\n"
    arguments = ["configs/quickstart.yaml", "--set", f"imports=[{parts}]"]
    parts.write_text(f"{text}1 / 0\n")
    failed = CliRunner().invoke(show_tool.main, arguments)
    assert (failed.exit_code, "ZeroDivisionError: division by zero" in failed.output) == (1, True)
    parts.write_text(text)
    mended = CliRunner().invoke(show_tool.main, arguments)
    assert mended.exit_code == 0, mended.output


def test_a_typing_mistake_in_an_own_parameter_is_told(tmp_path):
    overrides = ["--set", "user_tower.block.droput=0.2", "--out", str(tmp_path)]
    result = CliRunner().invoke(train_tool.main, [str(EXAMPLES / "custom_block.yaml"), *overrides])
    assert result.exit_code == 1
    assert (
        "user_tower.block.droput must be a parameter of block 'linear-layernorm-gelu', got 'droput'." in result.output
    )
    assert "Did you mean 'dropout'?" in result.output


OWN = """\
from torch import nn
from towerzoo.registry import ACTIVATIONS, BLOCKS, POOLINGS

@ACTIVATIONS.register("my-activation")
class Mine(nn.Module):
    def forward(self, values):
        return values.missing

@POOLINGS.register("my-pooling")
def pooling(dim: int):
    return lambda vectors, mask: vectors.missing

@BLOCKS.register("my-block")
class Block(nn.Linear):
    def forward(self, values):
        return super().forward(values if len(values) < 100 else values.missing)
"""


@pytest.mark.parametrize(
    ("override", "line", "deed"),
    [
        ("user_tower.block={name: linear-act-dropout, act: my-activation}", 7, "block 'linear-act-dropout' must map"),
        ("item_tower.features.genres.pooling=my-pooling", 11, "pooling 'my-pooling' must map"),
        ("user_tower.block=my-block", 16, "must run"),
    ],
)
def test_an_error_is_told_with_the_line_of_the_own_file_wherever_it_comes_about(tmp_path, override, line, deed):
    """Inside a part of TowerZoo's that is tried before training, or later, in what no trial could find."""
    parts = tmp_path / "parts.py"
    parts.write_text(f"{OWN}# {tmp_path}\n")  # a file of the same text as another would be that one
    arguments = ["configs/quickstart.yaml", "--set", f"imports=[{parts}]", "--set", override, "--out", str(tmp_path)]
    result = CliRunner().invoke(train_tool.main, arguments)
    assert result.exit_code == 1
    (told,) = (text for text in result.output.splitlines() if text.startswith("error: "))
    assert told.startswith(f"error: {parts}:{line}")
    assert f" {deed} " in told
    assert "without an error, got AttributeError: 'Tensor' object has no attribute 'missing'." in told
    assert "--debug shows the traceback." in result.output
    debugged = CliRunner().invoke(train_tool.main, [*arguments, "--debug"])
    assert isinstance(debugged.exception, PartError | AttributeError)
