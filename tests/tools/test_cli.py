from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from towerzoo.registry.errors import ConfigError, DataError, Interrupted
from towerzoo.tools.cli import COMMANDS, MEASURE, main, reports_errors

TOOLS = Path(__file__).parents[2] / "tools"
MODULES = {name: f"measure.{name}" if name in MEASURE else name for name in COMMANDS}
HEAVY = ("torch", "pandas", "pydantic", "numpy", "pytorch_lightning", "matplotlib")


def test_every_file_in_tools_is_a_command():
    files = {file.stem for folder in (TOOLS, TOOLS / "measure") for file in folder.glob("*.py")} - {"__init__"}
    assert files == set(COMMANDS)
    assert len(files) >= 6


def test_help_lists_every_command_with_its_line(invoke):
    result = invoke(main, "--help")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for name, line in COMMANDS.items():
        assert f" {name.replace('_', '-')} {line}" in text


@pytest.mark.parametrize("name", [*COMMANDS, *(name.replace("_", "-") for name in COMMANDS if "_" in name)])
def test_every_command_runs_under_either_spelling(invoke, name):
    result = invoke(main, name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert result.output.split()[2] == name


@pytest.mark.parametrize("name", ["trian", "cli", "__init__", ""])
def test_an_unknown_command_is_a_usage_error(invoke, name):
    result = invoke(main, name)
    assert result.exit_code == 2
    assert f"No such command '{name}'" in result.output


def test_a_command_runs_through_the_group(invoke, tiny_config):
    result = invoke(main, "show-config", tiny_config)
    assert result.exit_code == 0
    assert result.output.startswith("seed: 7 ")


def test_the_version_is_that_of_the_package(invoke):
    from importlib.metadata import version

    assert version("towerzoo") in invoke(main, "--version").output


PROBE = """
import contextlib, importlib, io, json, runpy, sys
heavy, tools = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for tool in tools:
    importlib.import_module(f"towerzoo.tools.{tool}")
    found[f"import {tool}"] = [name for name in heavy if name in sys.modules]
    sys.argv = [f"tools/{tool.replace('.', '/')}.py", "--help"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert text.getvalue().startswith("Usage: "), text.getvalue()
    found[f"help of {tool}"] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""


def test_help_and_imports_are_fast():
    arguments = [sys.executable, "-c", PROBE, json.dumps(HEAVY), json.dumps([*MODULES.values()])]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=TOOLS.parent, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 2 * len(COMMANDS)
    assert {what: modules for what, modules in found.items() if modules} == {}


def test_a_script_runs_on_its_own():
    command = [sys.executable, "tools/train.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOOLS.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: train.py")


def make_command(error: Exception) -> click.Command:
    @click.command("fails")
    @reports_errors
    def command() -> None:
        raise error

    return command


def test_an_error_is_one_line_on_stderr(invoke):
    result = invoke(make_command(DataError("x must be y, got 'z'. Do so.")))
    assert result.exit_code == 1
    assert result.stderr == "error: x must be y, got 'z'. Do so.\n"
    assert result.stdout == ""


def test_a_file_without_permission_is_reported(invoke):
    result = invoke(make_command(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs/mine/config.yaml")))
    assert result.exit_code == 1
    assert result.stderr == (
        "error: runs/mine/config.yaml cannot be opened: Permission denied. "
        "Change its permissions, or choose another path.\n"
    )


def test_output_to_a_full_disk_is_reported(tiny_config):
    command = [sys.executable, "tools/show_config.py", str(tiny_config)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=TOOLS.parent, check=False)
    expected = "The output cannot be written: No space left on device. Free space, or choose another path."
    assert (done.returncode, done.stderr) == (1, f"error: {expected}\n")


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_is_not_reported_as_an_error(invoke, number):
    result = invoke(make_command(Interrupted("stopped", number)))
    assert result.exit_code == 128 + number
    assert result.stderr == "stopped\n"


def test_debug_lets_the_error_through_with_its_traceback(invoke):
    reported = invoke(main, "show-config", "nowhere.yaml")
    assert reported.stderr.startswith("error: config must be a readable YAML file, got 'nowhere.yaml'.")
    debugged = CliRunner().invoke(main, ["show-config", "nowhere.yaml", "--debug"])
    assert isinstance(debugged.exception, ConfigError)
    assert "error: " not in debugged.output


def test_other_errors_are_not_swallowed():
    result = CliRunner().invoke(make_command(ZeroDivisionError()))
    assert isinstance(result.exception, ZeroDivisionError)
