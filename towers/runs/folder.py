"""A run on disk: one folder that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from towerzoo.registry.errors import RunError, one_line
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.files import error_number, os_errors_as, os_problem
from towerzoo.registry.imports import SESSION
from towerzoo.registry.yaml_file import write_yaml
from towerzoo.towers.runs.documents import Document, Identity, problems_of
from towerzoo.towers.runs.files import write_whole, write_whole_with

if TYPE_CHECKING:
    from torch import nn

FORMAT: Final = "towerzoo-run"
REPORT: Final = "report.html"
"""What a run writes last: without it, there is still something to finish."""
VERSION: Final = 2
"""Raised whenever a file of a run folder changes its meaning."""

AnyDocument = TypeVar("AnyDocument", bound=Document)


class RunFolder:
    """The files of one training run.

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
            RunError: The folder cannot be created.
        """
        stamp = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
        number = 1
        while True:
            path = out / name / (stamp if number == 1 else f"{stamp}-{number}")
            with os_errors_as(RunError, path, "created"), suppress(FileExistsError):
                (path / "checkpoints").mkdir(parents=True)
                return cls(path)
            number += 1

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False) -> RunFolder:
        """Opens an existing run.

        Args:
            path: The folder of a run, or of several runs, such as `runs/tanh_bn`: then the newest one is opened.
            unfinished: Whether the newest one may be unfinished.

        Raises:
            RunError: This is not a run folder, or one in another format.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise RunError(f"{path} must be a run folder, got no such folder. Runs lie in runs/NAME/TIME.")
        if not (run.path / Identity.FILE).exists():
            runs = [file.parent for file in run.path.glob(f"*/{Identity.FILE if unfinished else REPORT}")]
            run = cls(max(runs, key=_started, default=run.path))
        identity = run.read(Identity)
        if (identity.format, identity.version) != (FORMAT, VERSION):
            raise RunError(
                f"{run.path} was written in format {identity.format} {identity.version}, and this version of TowerZoo "
                f"reads {FORMAT} {VERSION}. Train it again, or use the version that wrote it."
            )
        return run

    @property
    def name(self) -> str:
        """The name of the config that the run was trained from."""
        return self.read(Identity).config

    @property
    def config(self) -> Path:
        """The run's config.yaml.

        Raises:
            RunError: It is missing.
        """
        return self._file("config.yaml")

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file of the run, whole or not at all."""
        write_whole(self.path / name, content)

    def write_with(self, name: str, writer: Callable[[Path], object]) -> None:
        """Writes a file of the run with a function that takes a path, whole or not at all."""
        write_whole_with(self.path / name, writer)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON."""
        self.write(name, json.dumps(value, indent=2) + "\n")

    def read(self, document: type[AnyDocument]) -> AnyDocument:
        """Reads a JSON file of the run.

        Raises:
            RunError: The file is missing or damaged.
        """
        with self.reading(document.FILE) as path:
            return document.model_validate_json(path.read_bytes())

    @contextmanager
    def reading(self, name: str, *errors: type[Exception]) -> Iterator[Path]:
        """Yields the path of a file of the run, and turns errors of the reading block, and `errors`, into a RunError.

        Raises:
            RunError: The file is missing, cannot be read, or is damaged.
        """
        path = self._file(name)
        damage: tuple[type[Exception], ...] = (OSError, TypeError, ValueError, LookupError, *errors)
        try:
            yield path
        except damage as error:
            # A library may report a damaged file as an OSError, too, but without a number of the operating system's.
            if isinstance(error, OSError) and error_number(error):
                raise RunError(os_problem(error, path, "read")) from error
            reason = problems_of(error) if isinstance(error, ValidationError) else one_line(error)
            raise RunError(f"{path} is damaged: {reason}. Copy the run folder again.") from error

    def save_experiment(self, experiment: Experiment) -> None:
        """Writes config.yaml, and copies of the user's own parts that it imports."""
        config = experiment.model_dump()
        copies: list[str] = []
        for source in experiment.imports:
            if source == SESSION:
                copies.append(source)
                continue
            target = self.path / "imports" / Path(source).name
            if f"imports/{target.name}" in copies:
                target = target.with_stem(f"{target.stem}-{len(copies) + 1}")
            if Path(source) != target.resolve():
                with os_errors_as(RunError, target):
                    target.parent.mkdir(exist_ok=True)
                write_whole(target, Path(source).read_bytes())
            copies.append(f"imports/{target.name}")
        config["imports"] = copies
        self.write("config.yaml", write_yaml(config))

    def save_weights(self, model: nn.Module, loss: nn.Module) -> None:
        """Writes model.safetensors: the weights of the model and, where it has any, of the loss."""
        import safetensors.torch

        state = {**model.state_dict(), **{f"loss.{name}": tensor for name, tensor in loss.state_dict().items()}}
        contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
        self.write("model.safetensors", safetensors.torch.save(contiguous))

    def load_weights(self, model: nn.Module, loss: nn.Module | None = None) -> None:
        """Loads model.safetensors into a model and, where it is given, its loss.

        Raises:
            RunError: The file is missing or damaged, or holds the weights of another architecture.
        """
        import safetensors.torch

        from towerzoo.towers.runs.checkpoints import load_state

        with self.reading("model.safetensors", safetensors.SafetensorError) as path:
            state = safetensors.torch.load(path.read_bytes())
        load_state(model, {name: tensor for name, tensor in state.items() if not name.startswith("loss.")}, path)
        if loss is not None:
            of_loss = {name.removeprefix("loss."): state[name] for name in state if name.startswith("loss.")}
            load_state(loss, of_loss, path)

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise RunError(
                f"{self.path} has no {name}. "
                "Finish the run with tools/train.py --resume, or copy the whole folder again."
            )
        return path


def open_runs(paths: Iterable[str]) -> dict[str, RunFolder]:
    """Opens several runs, each once, by labels that distinguish them: the config, also the time, or the path."""
    runs = list({run.path: run for run in (RunFolder.open(Path(path).resolve()) for path in paths)}.values())
    names = [run.name for run in runs]
    timed = [f"{name} {run.path.name}" for name, run in zip(names, runs, strict=True)]
    labels = next(style for style in (names, timed, [str(run.path) for run in runs]) if len(set(style)) == len(runs))
    return dict(zip(labels, runs, strict=True))


def _started(path: Path) -> tuple[str, int, str]:
    """Sorts run folders by their second, and by their number within it."""
    length = len("2026-11-24T03-45-10")
    second, number = path.name[:length], path.name[length:]
    return second, len(number), number
