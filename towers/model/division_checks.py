"""What a config may not ask of data that comes divided, or whose training events are streamed."""

from __future__ import annotations

from towerzoo.datasets import Dataset
from towerzoo.registry import DATASETS, LOSSES, SPLITS
from towerzoo.registry.errors import Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.encoders.history import takes_history
from towerzoo.towers.losses.sampled import CandidateLoss


def division_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks of its data and cannot have, found before anything is read."""
    dataset: Dataset = DATASETS.build(experiment.data.dataset)
    divided, streamed = (getattr(dataset, name, False) for name in ("divided", "streamed"))
    problems = []
    split, _ = SPLITS.split(experiment.data.split)
    where = document.where(("data", "split"))
    if divided and split != "files":
        hint = "Write `split: files`, or remove valid and test from interactions."
        problems.append(Problem(where, "'files' for data that is divided by its files", split, hint))
    if split == "files" and not divided:
        hint = "Name valid and test files in the interactions of the tabular dataset, or take another split."
        problems.append(Problem(where, "a split of events, for data that is not divided by its files", split, hint))
    return [*problems, *(_stream_problems(document, experiment) if streamed else ())]


def _stream_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what needs all training events in memory."""
    problems = [
        Problem(
            document.where(("user_tower", "features", name)),
            "another encoder than 'history' where interactions are streamed",
            "history",
            "Histories hold all training events in memory. Remove the feature, or stream: true.",
        )
        for name, encoder in experiment.user_tower.features.items()
        if takes_history(encoder)
    ]
    loss = LOSSES.build(experiment.loss)
    if isinstance(loss, CandidateLoss) and loss.mask_known:
        hint = "What users are known to like is not in memory. Add mask_known: false to the loss."
        where = document.where(("loss", "mask_known"))
        problems.append(Problem(where, "false where interactions are streamed", True, hint))
    return problems
