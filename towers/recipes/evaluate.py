"""Tests a finished run, or a checkpoint of a config."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from towerzoo.datasets import TwoTowerData
from towerzoo.registry.config import Overrides
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import settle_process, torch_device
from towerzoo.towers.metrics.baselines import baselines, ranking_baselines, training_biases
from towerzoo.towers.metrics.plan import EvaluationPlan
from towerzoo.towers.metrics.protocol import fingerprint, protocol
from towerzoo.towers.metrics.ranking import ranking_task
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.recipes.few_shots import few_shots, require_history
from towerzoo.towers.recipes.slices import mask_biases, mask_columns, require_columns, sliced
from towerzoo.towers.runs.checkpoints import load_state, read_checkpoint
from towerzoo.towers.runs.documents import Metrics, Schema
from towerzoo.towers.runs.folder import REPORT, RunFolder
from towerzoo.towers.runs.report import write_report
from towerzoo.towers.runs.tables import require_same_data
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import TrainingModule, build_module
from towerzoo.towers.training.trainer import make_trainer


def evaluate_run(
    run: RunFolder,
    overrides: Overrides = (),
    *,
    device: str,
    mask: Sequence[str] = (),
    by: Sequence[str] = (),
    shots: Sequence[int] = (),
) -> dict[str, Any]:
    """Tests the weights of a finished run, and writes the results to its metrics.json unless features are masked.

    Args:
        run: The run.
        overrides: `KEY.PATH=VALUE` texts, such as `data.root=...` on another machine.
        device: `cpu`, `cuda` or `auto`.
        mask: Features of users or items whose values become unknown.
        by: What to slice users or items by, see `require_columns`.
        shots: Numbers of known events of new users, see `few_shots`.

    Returns:
        The content of metrics.json; with `by`, also the metrics of each slice as `slices`; with `shots`, also those of
        new users as `shots`, which the run's report then shows.

    Raises:
        TowerZooError: A file of the run is missing or damaged, the data is not the run's, or the data has no feature of
            a name in `mask` or `by`.
    """
    metrics = run.read(Metrics).model_dump()
    experiment, _ = read_experiment(run.config, overrides)
    if shots:
        require_history(run, experiment)
    settle_process(torch_device(device))
    data = load_data(experiment)
    require_same_data(run, data, experiment)
    require_columns(data, mask, by)
    mask_columns(data, mask)
    module = build_module(experiment, data.schema, trained=True)
    run.load_weights(module.model, module.loss)
    mask_biases(module.model, data, mask)
    metrics |= evaluate(module, data, experiment, device)
    if by:
        metrics["slices"] = sliced(module.model, data, EvaluationPlan.of(experiment), by)
    if shots:
        metrics["shots"] = few_shots(run, experiment, data, shots, device)
    if not mask:
        run.write_json(Metrics.FILE, metrics)
        if shots and (run.path / REPORT).exists():  # a report would mark an unfinished run as finished
            write_report(run, metrics, module.model)
    return metrics


def evaluate_checkpoint(config: str, checkpoint: Path, overrides: Sequence[str] = (), *, device: str) -> dict[str, Any]:
    """Tests the weights of a checkpoint on a config's data, and writes `NAME.metrics.json` beside the checkpoint.

    Args:
        config: A YAML file or the name of a shipped config.
        checkpoint: A checkpoint trained with this config and data. The data is checked only if the checkpoint lies in
            its run folder.
        overrides: `KEY.PATH=VALUE` texts.
        device: `cpu`, `cuda` or `auto`.

    Raises:
        TowerZooError: The checkpoint is missing, damaged or of another architecture, or the config or data is wrong.
    """
    experiment, _ = read_experiment(config, overrides)
    settle_process(torch_device(device))
    state = read_checkpoint(checkpoint)["state_dict"]
    data = load_data(experiment)
    run = RunFolder(checkpoint.absolute().parent.parent)
    if (run.path / Schema.FILE).is_file():
        require_same_data(run, data, experiment)
    module = build_module(experiment, data.schema, trained=True)
    load_state(module, state, checkpoint)
    metrics = evaluate(module, data, experiment, device)
    RunFolder(checkpoint.parent).write_json(f"{checkpoint.stem}.metrics.json", metrics)
    return metrics


def evaluate(module: TrainingModule, data: TwoTowerData, experiment: Experiment, device: str) -> dict[str, Any]:
    """Evaluates a model and the baselines on the validation and test splits.

    Returns:
        The content of metrics.json. `test_seconds` is the time from encoding the first user to the last test metric.
    """
    trainer = make_trainer(experiment, device, logger=False, callbacks=[])
    batches = DataModule(data)
    valid = trainer.validate(module, batches, verbose=False)[0]
    started = time.perf_counter()
    test = trainer.test(module, batches, verbose=False)[0]
    seconds = time.perf_counter() - started
    described = protocol(experiment, data)
    plan = EvaluationPlan.of(experiment)
    return {
        "protocol": described,
        "fingerprint": fingerprint(described),
        "valid": {name: valid[f"valid/{name}"] for name in plan.names},
        "test": {name: test[f"test/{name}"] for name in plan.names},
        "test_seconds": round(seconds, 4),
        "baselines": _baselines(data, plan),
    }


def _baselines(data: TwoTowerData, plan: EvaluationPlan) -> dict[str, dict[str, float]]:
    biases = training_biases(data)
    of_pairs = baselines(data, biases) if plan.pairs and biases is not None else {}
    of_lists = ranking_baselines(data, ranking_task(data, "test", plan.at), biases) if plan.at else {}
    return {name: of_pairs.get(name, {}) | of_lists.get(name, {}) for name in (*of_pairs, *of_lists)}
