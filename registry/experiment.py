"""The experiment: what a config may hold, section by section."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from towerzoo.registry.catalogue import BLOCKS, DATASETS, ENCODERS, INITIALIZERS, LOSSES, OPTIMIZERS, SCORES, SPLITS
from towerzoo.registry.ranges import Count, Finite, Seed, WholeNumber
from towerzoo.registry.registry import Registry, Spec


class Section(BaseModel):
    """A mapping of known keys, each of the type that it is annotated with."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LabelRule(Section):
    """How an event gets its label of 0 or 1: exactly one of three rules.

    `label: implicit` is short for `label: {implicit: true}`.

    Attributes:
        column: The feedback column, such as `rating`; an implicit label needs none.
        positive_from: Smallest positive value, in the column's unit.
        equals: The one value that counts as positive: a number, or a text such as `purchase`.
        implicit: Whether every event is positive, because that it happened is all that is known.

    Example:
        >>> LabelRule.model_validate("implicit").text, LabelRule(column="event", equals="purchase").text
        ('every event is positive', "event == 'purchase'")
    """

    expected: ClassVar[str] = "'implicit', or a mapping with exactly one of positive_from, equals and implicit: true"

    column: str = "rating"
    positive_from: Finite | None = None
    equals: Finite | str | None = None
    implicit: bool = False

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        return {"implicit": True} if value == "implicit" else value

    @model_validator(mode="after")
    def _require_one_rule(self) -> LabelRule:
        if (self.positive_from is not None) + (self.equals is not None) + self.implicit != 1:
            raise ValueError(f"{self.expected} (null removes one that a base gives)")
        return self

    @property
    def text(self) -> str:
        """The rule in words, by which results of different rules are told apart."""
        if self.implicit:
            return "every event is positive"
        if self.positive_from is not None:
            return f"{self.column} >= {self.positive_from:g}"
        return (
            f"{self.column} == {self.equals!r}" if isinstance(self.equals, str) else f"{self.column} == {self.equals:g}"
        )


class Data(Section):
    """The dataset with its own parameters, the label rule, the split and the batches.

    Attributes:
        name: The registered dataset; keys that are not listed here are its parameters.
        label: How labels are made.
        split: How events are divided into training, validation and test.
        batch_size: Events a training batch, of all devices together.
        fit_on: Which ids have rows of their own: `catalogue`, all of the users and items tables; or `train`, those with
            an event in the training split, all others sharing the unknown row.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    registry: ClassVar[Registry] = DATASETS

    name: str
    label: LabelRule
    split: Annotated[Spec, SPLITS]
    batch_size: Count = 1024
    fit_on: Literal["catalogue", "train"] = "catalogue"

    @property
    def dataset(self) -> Spec:
        """The dataset's name with its own parameters."""
        return {"name": self.name, **(self.model_extra or {})}


class Tower(Section):
    """One tower: encoders, concatenated, then a block a width.

    Attributes:
        features: The encoder of each feature, by the feature's name; their outputs are concatenated in this order.
        block: The block that is repeated; none leaves the concatenated features as the tower's output.
        widths: Output width of each block.
        combine: `concat`, or `sum`, for which all outputs must be of one length.
        init: How weight matrices are initialised: the blocks', and those of encoders without an `init` of their own.
    """

    features: dict[str, Annotated[Spec, ENCODERS]]
    block: Annotated[Spec, BLOCKS] | None = None
    widths: list[Count] = Field(default_factory=list)
    init: Annotated[Spec, INITIALIZERS] = "torch-default"
    combine: Literal["concat", "sum"] = "concat"


class EarlyStopping(Section):
    """When to stop before max_epochs.

    Attributes:
        monitor: The validation figure to watch, such as `valid/auc` or `valid/ndcg@10`; the best weights are those of
            its best epoch. None takes the loss of pairs or, where only rankings are measured, the shortest list's NDCG.
        patience: Epochs without a better value after which training stops.
    """

    monitor: str | None = None
    patience: WholeNumber = 3


class Training(Section):
    """How long to train.

    Attributes:
        max_epochs: Passes over the training split.
        early_stopping: When to stop before that; none trains all epochs.
        unique: Whether each distinct user and item of a batch is encoded once in training, too: several times faster
            where a batch has many more events than users and items. Dropout masks are then a user's and an item's, not
            an event's, and batch normalisation weighs each user and item once.
        schedule: How the optimizer's step size goes over all epochs: `constant`; `one-cycle`, up to its value over the
            first 30 % of the steps and down to almost nothing (Smith and Topin, 2019); `cosine`, down from the start.
        execution: How the towers are executed in training: `eager`, operation by operation; on a GPU also `compile`, by
            torch.compile, or `cuda-graphs`, compiled and launched as one, for batches so small that starting operations
            takes longer than they do.
    """

    max_epochs: Count = 20
    early_stopping: EarlyStopping | None = None
    unique: bool = False
    schedule: Literal["constant", "one-cycle", "cosine"] = "constant"
    execution: Literal["eager", "compile", "cuda-graphs"] = "eager"


class RankingMeasures(Section):
    """Figures of each user's list out of the whole catalogue, seen items removed.

    Attributes:
        at: The lengths of the lists.
    """

    at: Annotated[list[Count], Field(min_length=1)] = [10]


class Evaluation(Section):
    """What is measured in validation and test.

    Attributes:
        pairs: Whether labelled pairs are scored (loss, AUC, accuracy); none does so where the loss is one of pairs.
        ranking: How lists are measured; none does so, at the default lengths, only where the loss is one of candidates.
    """

    pairs: bool | None = None
    ranking: RankingMeasures | None = None


class Experiment(Section):
    """Everything that a run needs, checked.

    Attributes:
        seed: Seed of weights, dropout and batch order.
        imports: Python files that register the person's own parts.
        data: Where events come from.
        user_tower: The tower of user features.
        item_tower: The tower of item features.
        score: How two vectors become a logit.
        loss: What is minimised.
        optimizer: How it is minimised.
        training: How long.
        evaluation: What is measured.
        trainer: Keyword arguments of pytorch_lightning.Trainer, passed on as they stand; but `devices` says how many
            processes divide each batch between them, and `precision: auto` is bf16-mixed where the device is faster in
            it, else 32-true.
    """

    seed: Seed = 42
    imports: list[str] = Field(default_factory=list)
    data: Data
    user_tower: Tower
    item_tower: Tower
    score: Annotated[Spec, SCORES]
    loss: Annotated[Spec, LOSSES]
    optimizer: Annotated[Spec, OPTIMIZERS]
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    trainer: dict[str, Any] = Field(default_factory=dict)
