"""What an experiment is measured by, and which of its figures chooses the best epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from towerzoo.registry import LOSSES
from towerzoo.registry.experiment import Experiment, RankingMeasures
from towerzoo.towers.losses.candidates import CandidateLoss

Figures: TypeAlias = dict[str, float]
"""Figures by their metric: loss in nats, all others in [0, 1]."""

PAIR_METRICS: Final = ("loss", "auc", "accuracy")
"""What is measured of labelled pairs in every split."""
USER_METRICS: Final = ("user_auc", "calibration_error")
"""What is measured of labelled pairs in validation and test besides."""
RANKING_METRICS: Final = ("recall", "ndcg", "hit_rate", "precision", "map", "mrr", "coverage", "popularity", "overlap")
"""What is measured of lists, each at every length."""
OF_ALL_LISTS: Final = ("coverage", "popularity", "overlap")
"""Those that say what all lists are like, not how good they are."""
LOWER_IS_BETTER: Final = frozenset({"loss", "calibration_error", "popularity", "overlap"})


def mode(metric: str) -> str:
    """Returns `min` or `max`, whichever is the better direction of a metric.

    Example:
        >>> mode("loss"), mode("ndcg@10")
        ('min', 'max')
    """
    return "min" if metric.partition("@")[0] in LOWER_IS_BETTER else "max"


def in_order(metrics: Iterable[str]) -> list[str]:
    """Returns metrics in the order in which they are told: those of pairs, then those of lists, the shortest first.

    Example:
        >>> in_order(["ndcg@10", "accuracy", "recall@10", "loss", "recall@5"])
        ['loss', 'accuracy', 'recall@5', 'recall@10', 'ndcg@10']
    """
    names = (*PAIR_METRICS, *USER_METRICS, *RANKING_METRICS)

    def place(metric: str) -> tuple[int, int, str]:
        name, _, k = metric.partition("@")
        return int(k or 0), names.index(name) if name in names else len(names), metric

    return sorted(metrics, key=place)


def told_metrics(metrics: Iterable[str]) -> list[str]:
    """Returns those of some metrics that a table of results has room for, in their order.

    Example:
        >>> told_metrics(["auc", "user_auc", "recall@10", "map@10", "coverage@10", "recall@100"])
        ['auc', 'user_auc', 'recall@10', 'coverage@10']
    """
    given = list(metrics)
    shortest = min((int(metric.partition("@")[2]) for metric in given if "@" in metric), default=0)
    more = {"user_auc", f"coverage@{shortest}", f"popularity@{shortest}", f"overlap@{shortest}"}
    main = main_metrics(given)
    return [metric for metric in given if metric in main or metric in more]


def main_metrics(metrics: Iterable[str]) -> list[str]:
    """Returns the few of some metrics that a line has room for: of pairs, and recall and NDCG of the shortest lists.

    Example:
        >>> main_metrics(["loss", "auc", "accuracy", "user_auc", "recall@10", "ndcg@10", "map@10", "recall@100"])
        ['loss', 'auc', 'accuracy', 'recall@10', 'ndcg@10']
    """
    given = list(metrics)
    lengths = sorted({int(metric.partition("@")[2]) for metric in given if "@" in metric})
    short = {f"{name}@{lengths[0]}" for name in ("recall", "ndcg")} if lengths else set()
    return [metric for metric in given if metric in PAIR_METRICS or metric in short]


def has_candidates(experiment: Experiment) -> bool:
    """Returns whether the loss compares positive events with candidates, and so trains on these alone."""
    return isinstance(LOSSES.build(experiment.loss), CandidateLoss)


@dataclass(frozen=True)
class EvaluationPlan:
    """What is measured in validation and test.

    Attributes:
        pairs: Whether labelled pairs are scored.
        at: The lengths of the lists that are ranked; none ranks nothing.
    """

    pairs: bool = True
    at: tuple[int, ...] = ()

    @classmethod
    def of(cls, experiment: Experiment) -> EvaluationPlan:
        """Returns those of an experiment."""
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
        """The figure that chooses the best epoch where the experiment names none."""
        return "valid/loss" if self.pairs else f"valid/ndcg@{self.at[0]}"


def monitor(experiment: Experiment) -> str:
    """Returns the figure that chooses an experiment's best epoch."""
    stopping = experiment.training.early_stopping
    return (stopping.monitor if stopping else None) or EvaluationPlan.of(experiment).monitor
