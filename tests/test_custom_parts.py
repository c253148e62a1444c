"""Custom parts: registered in a file outside the package that a config names, or in a script or notebook."""

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


def run_python(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)


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
    tested = run_python(test_tool.__file__, run)
    assert tested.returncode == 0, tested.stderr
    assert json.loads((run / "metrics.json").read_text())["test"] == trained


SCRIPT = """\
import sys
from pathlib import Path
from rich.console import Console
from torch import nn
from towerzoo.registry import BLOCKS
from towerzoo.towers.model.build import read_experiment
from towerzoo.towers.recipes.train import train


@BLOCKS.register("of-this-script")
def block(in_features, out_features):
    return [nn.Linear(in_features, out_features), nn.SiLU()]


if len(sys.argv) == 2:
    block = {"block": "of-this-script", "widths": [8]}
    data = {"users": 80, "items": 40, "interactions": 2000}
    config = {"base": "quickstart", "user_tower": block, "item_tower": block, "data": data}
    experiment, _ = read_experiment(config, {"training.max_epochs": 1})
    train(experiment, name="mine", out=Path(sys.argv[1]), device="cpu", console=Console())
else:
    print("read again:", read_experiment(sys.argv[2])[0].imports)
"""


def test_a_run_with_parts_of_a_script_is_opened_where_they_are_registered(tmp_path):
    """Elsewhere the error says which part is missing, and that no file of the run holds it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    trained = run_python(script, tmp_path / "runs")
    assert trained.returncode == 0, trained.stderr
    (config,) = (tmp_path / "runs").glob("mine/*/config.yaml")
    refused = CliRunner().invoke(test_tool.main, [str(config.parent)])
    assert refused.exit_code == 1
    missing = (
        "user_tower.block.name must be a registered block, got 'of-this-script'.\n    It was registered in the session"
    )
    assert missing in refused.output
    assert "Register it again before you open the run. Registered: dropout-linear-bn-tanh, " in refused.output
    opened = run_python(script, "open", config)
    assert opened.stdout == "read again: ['session']\n", opened.stderr


def test_a_file_that_failed_half_way_can_be_corrected_in_the_same_process(tmp_path):
    parts = tmp_path / "parts.py"
    text = "import torch\nfrom towerzoo.registry import ACTIVATIONS\nACTIVATIONS.register('mine')(torch.nn.Mish)\n"
    arguments = ["configs/quickstart.yaml", "--set", f"imports=[{parts}]"]
    parts.write_text(f"{text}1 / 0\n")
    failed = CliRunner().invoke(show_tool.main, arguments)
    assert (failed.exit_code, "ZeroDivisionError: division by zero" in failed.output) == (1, True)
    parts.write_text(text)
    corrected = CliRunner().invoke(show_tool.main, arguments)
    assert corrected.exit_code == 0, corrected.output


def test_a_misspelt_parameter_of_a_custom_part_is_reported(tmp_path):
    overrides = ["--set", "user_tower.block.droput=0.2", "--out", str(tmp_path)]
    result = CliRunner().invoke(train_tool.main, [str(EXAMPLES / "custom_block.yaml"), *overrides])
    assert result.exit_code == 1
    message = "user_tower.block.droput must be a parameter of block 'linear-layernorm-gelu', got 'droput'."
    assert message in result.output
    assert "Did you mean 'dropout'?" in result.output


PARTS = """\
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
    ("override", "line", "requirement"),
    [
        ("user_tower.block={name: linear-act-dropout, act: my-activation}", 7, "block 'linear-act-dropout' must map"),
        ("item_tower.features.genres.pooling=my-pooling", 11, "pooling 'my-pooling' must map"),
        ("user_tower.block=my-block", 16, "must run"),
    ],
)
def test_an_error_in_a_custom_file_is_reported_with_its_line(tmp_path, override, line, requirement):
    """Whether inside a part that is tried before training, or later, in a case that no trial covers."""
    parts = tmp_path / "parts.py"
    parts.write_text(f"{PARTS}# {tmp_path}\n")  # a file of the same text as another would be that one
    arguments = ["configs/quickstart.yaml", "--set", f"imports=[{parts}]", "--set", override, "--out", str(tmp_path)]
    result = CliRunner().invoke(train_tool.main, arguments)
    assert result.exit_code == 1
    (error,) = (text for text in result.output.splitlines() if text.startswith("error: "))
    assert error.startswith(f"error: {parts}:{line}")
    assert f" {requirement} " in error
    assert "without an error, got AttributeError: 'Tensor' object has no attribute 'missing'." in error
    assert "--debug shows the traceback." in result.output
    debugged = CliRunner().invoke(train_tool.main, [*arguments, "--debug"])
    assert isinstance(debugged.exception, PartError | AttributeError)
