"""A run on disk: one folder that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final
import safetensors.torch
from safetensors import SafetensorError
from torch import nn
from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import write_yaml
from towerzoo.towers.metrics.plan import Figures
from towerzoo.towers.runs.checkpoints import load_state
from towerzoo.towers.runs.files import told_as_run_error, write_whole, write_whole_with
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from towerzoo.registry.errors import NOTHING, shortened
from towerzoo.registry.expectations import expectation, locate, model_hints


FORMAT: Final = "towerzoo-run"
ABOUT: Final = "environment.json"
"""The file by which a folder is known as a run."""
REPORT: Final = "report.html"
"""What a run writes last: without it, there is still something to finish."""
VERSION: Final = 2
"""Raised whenever a file of a run folder changes its meaning."""


class RunFolder:
    """The files of one training run.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        best: Checkpoint of the best epoch.
        last: Checkpoint of the last finished epoch, from which training resumes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "checkpoints" / "best.ckpt"
        self.last = path / "checkpoints" / "last.ckpt"

    @classmethod
    def create(cls, out: Path, name: str) -> RunFolder:
        """Makes `out/name/<time>`, numbered where that exists.

        Raises:
            RunError: The folder cannot be made.
        """
        stamp = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
        for suffix in ("", *(f"-{number}" for number in range(2, 100))):
            path = out / name / f"{stamp}{suffix}"
            with told_as_run_error(path, "a folder that can be made"):
                try:
                    (path / "checkpoints").mkdir(parents=True)
                except FileExistsError:
                    continue
            return cls(path)
        raise RunError(f"{out / name} must be free for a new run, got 99 runs of this second. Wait a moment.")

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False) -> RunFolder:
        """Opens an existing run.

        Args:
            path: The folder of a run; or one of several runs, such as `runs/tanh_bn`, of which the newest is meant.
            unfinished: Whether, of several runs, one may be meant that is not finished.

        Raises:
            RunError: This is not a run folder, or one of another version.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise RunError(f"{path} must be a run folder, got no such folder. Runs lie in runs/NAME/TIME.")
        if not (run.path / ABOUT).exists():
            runs = [file.parent for file in run.path.glob(f"*/{ABOUT if unfinished else REPORT}")]
            run = cls(max(runs, key=_started, default=run.path))
        about = run.read_json(ABOUT, "format", "version")
        if (about["format"], about["version"]) != (FORMAT, VERSION):
            raise RunError(
                f"{run.path} was written in format {about['format']} {about['version']}, and this version of TowerZoo "
                f"reads {FORMAT} {VERSION}. Train it again, or use the version that wrote it."
            )
        return run

    @property
    def name(self) -> str:
        """The name of the config that the run was trained from."""
        name: str = self.read_json(ABOUT, "config")["config"]
        return name

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file of the run, whole or not at all."""
        write_whole(self.path / name, content)

    def write_with(self, name: str, writer: Callable[[Path], None]) -> None:
        """Lets `writer` write a temporary file and gives it its name when it is complete.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        write_whole_with(self.path / name, writer)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON."""
        self.write(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str, *keys: str) -> dict[str, Any]:
        """Reads a JSON file of the run, which must have the given keys, of the types that `run_facts` gives them.

        Raises:
            RunError: It is missing, damaged or of another program.
        """
        try:
            value = json.loads(self._require(name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from None
        if not isinstance(value, dict):
            raise self._damaged(name, "no JSON object")
        missing = [key for key in keys if key not in value]
        if missing:
            raise self._damaged(name, f"one without {', '.join(missing)}")
        if wrong := wrong_facts(name, value, keys):
            raise RunError("\n".join(f"{self.path / name}: {fact}. Copy the run folder again." for fact in wrong))
        return value

    def save_experiment(self, experiment: Experiment) -> None:
        """Writes config.yaml, and copies of the person's own parts that it imports."""
        config = experiment.model_dump()
        copies: list[str] = []
        for source in experiment.imports:
            target = self.path / "imports" / Path(source).name
            if f"imports/{target.name}" in copies:
                target = target.with_stem(f"{target.stem}-{len(copies) + 1}")
            if Path(source) != target.resolve():
                with told_as_run_error(target, "a file that can be written"):
                    target.parent.mkdir(exist_ok=True)
                write_whole(target, Path(source).read_bytes())
            copies.append(f"imports/{target.name}")
        config["imports"] = copies
        self.write("config.yaml", write_yaml(config))

    @property
    def config(self) -> Path:
        """The run's config.yaml.

        Raises:
            RunError: It is missing.
        """
        return self._require("config.yaml")

    def save_weights(self, model: nn.Module) -> None:
        """Writes model.safetensors."""
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        self.write("model.safetensors", safetensors.torch.save(state))

    def load_weights(self, model: nn.Module) -> None:
        """Loads model.safetensors into a model.

        Raises:
            RunError: The file is missing or damaged, or holds the weights of another architecture.
        """
        path = self._require("model.safetensors")
        try:
            state = safetensors.torch.load(path.read_bytes())
        except SafetensorError as error:
            raise self._damaged("model.safetensors", error) from None
        load_state(model, state, path)

    def _require(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise RunError(
                f"{self.path} must be a run folder with {name}, got one without it. "
                "Finish the run with tools/train.py --resume, or copy the whole folder again."
            )
        return path

    def _damaged(self, name: str, reason: object) -> RunError:
        kind = name.partition(".")[2]
        return RunError(f"{self.path / name} must be a whole {kind} file, got {reason}. Copy the run folder again.")


def _started(path: Path) -> tuple[str, int, str]:
    """Returns what sorts run folders by time: the second, and the number of the run within it."""
    second, number = path.name[: len("2026-11-24T03-45-10")], path.name[len("2026-11-24T03-45-10") :]
    return second, len(number), number


class Metrics(BaseModel):
    """What of metrics.json is read again."""

    model_config = ConfigDict(strict=True)

    protocol: dict[str, Any]
    fingerprint: str
    test: Annotated[Figures, Field(min_length=1)]
    best_epoch: int
    epochs: int
    train_seconds: float


class Packages(BaseModel):
    """The versions of what a run was trained with."""

    model_config = ConfigDict(strict=True)

    torch: str


class Environment(BaseModel):
    """What of environment.json is read again."""

    model_config = ConfigDict(strict=True)

    config: str
    seed: int
    device: str
    threads: int
    commit: str | None
    packages: Packages
    started: str


FACTS: Final[Mapping[str, type[BaseModel]]] = {"metrics.json": Metrics, "environment.json": Environment}
"""What is held by file."""


def wrong_facts(name: str, value: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """Returns what is wrong with the types of some keys of a JSON file, each to be read behind its path.

    Args:
        name: The file; of one that is none of `FACTS`, nothing is.
        value: What it holds.
        keys: The keys that it has and that matter.

    Example:
        >>> wrong_facts("metrics.json", {"test": {"auc": "high", "loss": 0.5}, "epochs": 2}, ["test", "epochs"])
        ["test.auc must be a number, got 'high'"]
    """
    if name not in FACTS:
        return []
    try:
        FACTS[name].model_validate(value)
    except ValidationError as error:
        hints = model_hints(FACTS[name])
        return [
            f"{'.'.join(map(str, details['loc']))} must be {expectation(locate(hints, details['loc'])[0])}, "
            f"got {shortened(repr(NOTHING if details['type'] == 'missing' else details['input']))}"
            for details in error.errors()
            if details["loc"][0] in keys
        ]
    return []
