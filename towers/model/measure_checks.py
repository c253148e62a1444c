"""What a config may not ask to be measured or watched."""

from __future__ import annotations

from towerzoo.registry.errors import Problem, name_hint
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.metrics.plan import PAIR_METRICS, USER_METRICS, Measures, has_candidates


def measure_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks to measure and cannot, or to watch and does not measure."""
    measures = Measures.of(experiment)
    if measures.pairs and has_candidates(experiment):
        where = document.where(("evaluation", "pairs"))
        expected = "false where the loss compares positive events with candidates"
        return [Problem(where, expected, True, "Its logits are no probabilities; rankings are measured instead.")]
    if not measures.names:
        where = document.where(("evaluation", "pairs"))
        return [Problem(where, "true where no ranking is measured", False, "Add evaluation.ranking: {at: [10]}.")]
    stopping = experiment.training.early_stopping
    watched = stopping.monitor if stopping else None
    names = [f"valid/{name}" for name in measures.names]
    if watched is not None and watched not in names:
        where = document.where(("training", "early_stopping", "monitor"))
        hint = name_hint(watched, names, "Measured")
        if not measures.pairs and watched.partition("/")[2] in PAIR_METRICS + USER_METRICS:
            lines = f"training:\n          early_stopping: {{monitor: {measures.monitor}}}"
            hint = f"Lists are ranked here, and pairs are not scored. Write\n        {lines}"
        return [Problem(where, "a figure of validation", watched, hint)]
    return []
