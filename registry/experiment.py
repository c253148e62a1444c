"""The experiment: what a config may hold, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from towerzoo.registry import BLOCKS, DATASETS, ENCODERS, INITIALIZERS, LOSSES, OPTIMIZERS, SCORES, SPLITS
from towerzoo.registry.errors import InvalidSetting
from towerzoo.registry.ranges import Count, Finite, NonNegative, Seed, Share, WholeNumber
from towerzoo.registry.registry import Registry, Spec


class Section(BaseModel):
    """A mapping of known keys, each of its annotated type.

    A section of a config with problems lacks its invalid values; reading one raises InvalidSetting.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    reserved: ClassVar[Mapping[str, str]] = {}
    """Keys that people may look for here, and what to do instead."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise InvalidSetting(name)
            return super().__getattr__(name)


class LabelRule(Section):
    """How an event gets its label of 0 or 1: by exactly one of three rules.

    `label: implicit` is short for `label: {implicit: true}`.

    Attributes:
        column: The feedback column, such as `rating`; an implicit label needs none.
        positive_from: Smallest positive value, in the column's unit.
        equals: The one value that counts as positive: a number, or a text such as `purchase`.
        implicit: Whether every event is positive, because all that is known is that it happened.

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
            raise ValueError(f"{self.expected} (null removes one of a base)")
        return self

    @property
    def text(self) -> str:
        """The rule in words, as part of the evaluation protocol."""
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
        split: How events are split into training, validation and test.
        batch_size: Events per training batch, over all devices.
        fit_on: Which ids get rows of their own: `catalogue`, all of the users and items tables; or `train`, those with
            an event in the training split. All others share the unknown row.
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
    """One tower: an encoder per feature, then one block per width.

    Attributes:
        features: The encoder of each feature, by the feature's name; their outputs are combined in this order.
        block: The block that is repeated; with none, the combined features are the tower's output.
        widths: Output width of each block.
        combine: `concat`; or `sum`, for which all outputs must have one length.
        init: The initializer of the blocks' weight matrices, and of encoders without an `init` of their own.
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
            its best epoch. With none it is the loss of pairs or, where only rankings are measured, the NDCG of the
            shortest lists.
        patience: Epochs without a better value after which training stops.
    """

    monitor: str | None = None
    patience: WholeNumber = 3


class Training(Section):
    """How long and how to train.

    Attributes:
        max_epochs: Passes over the training split.
        early_stopping: When to stop before that; none trains all epochs.
        unique: Whether training encodes each distinct user and item of a batch once: several times faster where a
            batch has many more events than users and items. Its events then share dropout masks by user and by item,
            and batch normalisation weighs each user and item once.
        schedule: The step size over all epochs, as a factor of the optimizer's: `constant`; `one-cycle`, up over the
            first 30 % of the steps and down to almost nothing (Smith and Topin, 2019); `cosine`, down from the start.
        execution: How the towers run in training: `eager`, operation by operation; on a GPU also `compile`, by
            torch.compile, or `cuda-graphs`, compiled and launched as one, for batches so small that kernel launches
            dominate.
    """

    max_epochs: Count = 20
    early_stopping: EarlyStopping | None = None
    unique: bool = False
    schedule: Literal["constant", "one-cycle", "cosine"] = "constant"
    execution: Literal["eager", "compile", "cuda-graphs"] = "eager"


class RankingMeasures(Section):
    """Metrics of each user's list out of the whole catalogue, without seen items.

    Attributes:
        at: The lengths of the lists.
    """

    at: Annotated[list[Count], Field(min_length=1)] = [10]


class Evaluation(Section):
    """What is evaluated in validation and test.

    Attributes:
        pairs: Whether labelled pairs are scored (loss, AUC, accuracy); by default if the loss is one of pairs.
        ranking: How lists are evaluated; by default, at the default lengths, only if the loss is one of candidates.
    """

    pairs: bool | None = None
    ranking: RankingMeasures | None = None


Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]
AUTO: Final = "auto"
"""The precision that leaves the choice to the device."""


class TrainerOptions(Section):
    """The arguments of pytorch_lightning.Trainer that a config may set; Lightning describes those not listed here.

    Attributes:
        devices: How many processes divide each batch, each on a device of its own.
        enable_model_summary: Whether Lightning prints its summary beside TowerZoo's.
        enable_progress_bar: Whether Lightning shows its progress bar beside TowerZoo's.
        limit_train_batches: Batches per epoch, or a share of them; none takes all.
        precision: `auto` is bf16-mixed on devices that are faster in it, else 32-true.
    """

    reserved = {
        "accelerator": "Use --device.",
        "callbacks": "TowerZoo sets them itself.",
        "check_val_every_n_epoch": "TowerZoo validates after every epoch.",
        "default_root_dir": "Use --out.",
        "fast_dev_run": "Use --fast-dev-run.",
        "limit_test_batches": "Results are those of whole splits; use --fast-dev-run to try a config out.",
        "limit_val_batches": "Results are those of whole splits; use --fast-dev-run to try a config out.",
        "logger": "TowerZoo writes a TensorBoard log.",
        "max_epochs": "Set training.max_epochs.",
        "max_steps": "TowerZoo trains whole epochs; set training.max_epochs or trainer.limit_train_batches.",
        "max_time": "TowerZoo trains whole epochs; set training.max_epochs.",
        "num_nodes": "TowerZoo trains on one machine; set trainer.devices.",
        "overfit_batches": "Set trainer.limit_train_batches.",
        "strategy": "TowerZoo divides batches itself; set trainer.devices.",
        "val_check_interval": "TowerZoo validates after every epoch.",
    }

    accumulate_grad_batches: Count = 1
    benchmark: bool | None = None
    detect_anomaly: bool = False
    deterministic: bool | Literal["warn"] = False
    devices: Count = 1
    enable_model_summary: bool = False
    enable_progress_bar: bool = False
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    gradient_clip_val: NonNegative | None = None
    inference_mode: bool = True
    limit_train_batches: Count | Share | None = None
    log_every_n_steps: WholeNumber = 50
    num_sanity_val_steps: WholeNumber = 0
    precision: Precision = "32-true"
    profiler: Literal["simple", "advanced", "pytorch"] | None = None


class Experiment(Section):
    """A checked config: everything that a run needs.

    Attributes:
        seed: Seed of weights, dropout and batch order.
        imports: Python files that register custom parts, and `session` for parts of the session that trained.
        data: The events.
        user_tower: The tower of user features.
        item_tower: The tower of item features.
        score: How two vectors become a logit.
        loss: The loss that training minimises.
        optimizer: How it is minimised.
        training: How long and how to train.
        evaluation: What is evaluated.
        trainer: Options of Lightning's Trainer.
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
    trainer: TrainerOptions = TrainerOptions()
