"""Which metrics an experiment is evaluated by, and which of them chooses the best epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from towerzoo.registry import LOSSES
from towerzoo.registry.experiment import Experiment, RankingMeasures

Figures: TypeAlias = dict[str, float]
"""Figures by their metric: loss in nats, all others in [0, 1]."""

PAIR_METRICS: Final = ("loss", "auc", "accuracy")
"""Metrics of labelled pairs in every split."""
USER_METRICS: Final = ("user_auc", "calibration_error")
"""Further metrics of labelled pairs in validation and test."""
RANKING_METRICS: Final = ("recall", "ndcg", "hit_rate", "precision", "map", "mrr", "coverage", "popularity", "overlap")
"""Metrics of lists, each at every length."""
OF_ALL_LISTS: Final = ("coverage", "popularity", "overlap")
"""Those that describe all lists, without saying how good they are."""
LOWER_IS_BETTER: Final = frozenset({"loss", "calibration_error", "popularity", "overlap"})
BEST_REACHABLE: Final = "best reachable"
"""The baseline that no model can beat: the true probabilities of generated data."""


def mode(metric: str) -> str:
    """Returns `min` or `max`, the better direction of a metric.

    Example:
        >>> mode("loss"), mode("ndcg@10")
        ('min', 'max')
    """
    return "min" if metric.partition("@")[0] in LOWER_IS_BETTER else "max"


def main_metrics(metrics: Iterable[str]) -> list[str]:
    """Selects the few metrics that fit into a line: those of pairs, and recall and NDCG of the shortest lists.

    Example:
        >>> main_metrics(["loss", "auc", "accuracy", "user_auc", "recall@10", "ndcg@10", "map@10", "recall@100"])
        ['loss', 'auc', 'accuracy', 'recall@10', 'ndcg@10']
    """
    return _selected(metrics, PAIR_METRICS, ("recall", "ndcg"))


def table_metrics(metrics: Iterable[str]) -> list[str]:
    """Selects the metrics that fit into a table of results.

    Example:
        >>> table_metrics(["auc", "user_auc", "recall@10", "map@10", "coverage@10", "recall@100"])
        ['auc', 'user_auc', 'recall@10', 'coverage@10']
    """
    return _selected(metrics, (*PAIR_METRICS, "user_auc"), ("recall", "ndcg", *OF_ALL_LISTS))


def _selected(metrics: Iterable[str], of_pairs: Iterable[str], of_lists: Iterable[str]) -> list[str]:
    given = list(metrics)
    shortest = min((int(metric.partition("@")[2]) for metric in given if "@" in metric), default=0)
    chosen = {*of_pairs, *(f"{name}@{shortest}" for name in of_lists)}
    return [metric for metric in given if metric in chosen]


def has_candidates(experiment: Experiment) -> bool:
    """Returns whether the loss compares positive events with candidates, and so trains on positive events alone."""
    return bool(LOSSES.fact(experiment.loss, "of_candidates"))


@dataclass(frozen=True)
class EvaluationPlan:
    """What is measured in validation and test.

    Attributes:
        pairs: Whether labelled pairs are scored.
        at: The lengths of the lists that are ranked; without any, nothing is ranked.
    """

    pairs: bool = True
    at: tuple[int, ...] = ()

    @classmethod
    def of(cls, experiment: Experiment) -> EvaluationPlan:
        """Returns the plan of an experiment."""
        candidates = has_candidates(experiment)
        section = experiment.evaluation
        ranking = section.ranking or (RankingMeasures() if candidates else None)
        pairs = not candidates if section.pairs is None else section.pairs
        return cls(pairs, tuple(sorted(set(ranking.at))) if ranking else ())

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric of validation and test."""
        ranked = tuple(f"{name}@{k}" for k in self.at for name in RANKING_METRICS)
        return (*(PAIR_METRICS + USER_METRICS if self.pairs else ()), *ranked)

    @property
    def monitor(self) -> str:
        """The metric that chooses the best epoch if the experiment names none."""
        return "valid/loss" if self.pairs else f"valid/ndcg@{self.at[0]}"


def monitor(experiment: Experiment) -> str:
    """Returns the metric that chooses an experiment's best epoch."""
    stopping = experiment.training.early_stopping
    return (stopping.monitor if stopping else None) or EvaluationPlan.of(experiment).monitor
