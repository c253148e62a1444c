"""How the towers are executed in training: operation by operation, compiled, or as CUDA graphs."""

from __future__ import annotations

from typing import Final

import torch

from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.metrics.plan import has_candidates
from towerzoo.towers.model.dssm import DSSM

MODES: Final = {"eager": None, "compile": "default", "cuda-graphs": "reduce-overhead"}
"""torch.compile's mode of each execution; None does not compile."""


def set_execution(model: DSSM, experiment: Experiment) -> None:
    """Lets the towers of a model train as the experiment says; what is compiled is so at the first training batch."""
    mode = MODES[experiment.training.execution]
    if mode is not None:
        for tower in (model.user_tower, model.item_tower):
            tower.compile_training(mode, dynamic=_rows_vary(experiment))


def execution_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks of CUDA graphs and cannot have: they are of one size, and of one batch."""
    if experiment.training.execution != "cuda-graphs":
        return []
    where, problems = document.where(("training", "execution")), []
    if _rows_vary(experiment):
        expected = "eager or compile where the distinct users and items of a batch are encoded"
        hint = "They are of another number in each batch, and a graph is not."
        problems.append(Problem(where, expected, "cuda-graphs", hint))
    if experiment.trainer.get("accumulate_grad_batches", 1) != 1:
        expected = "eager or compile where the gradients of several batches are added up"
        hint = "A graph writes those of the next batch over them. Or remove trainer.accumulate_grad_batches."
        problems.append(Problem(where, expected, "cuda-graphs", hint))
    return problems


def require_gpu(experiment: Experiment, device: torch.device) -> None:
    """Makes sure that the device gains by how the towers are executed.

    Raises:
        ConfigError: They are to be compiled for a CPU, where that takes away TowerZoo's own faster operations.
    """
    chosen = experiment.training.execution
    if chosen != "eager" and device.type != "cuda":
        hint = "Compiled towers take longer there (docs/performance.md). Add --set training.execution=eager."
        raise ConfigError([Problem("training.execution", f"eager on a {device.type.upper()}", chosen, hint)])


def _rows_vary(experiment: Experiment) -> bool:
    """Returns whether the towers encode another number of rows in each batch."""
    return experiment.training.unique or has_candidates(experiment)
