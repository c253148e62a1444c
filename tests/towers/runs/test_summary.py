from __future__ import annotations

import io
import re

from rich.console import Console

from towerzoo.towers.model.build import load_data
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.records import Comparison
from towerzoo.towers.runs.summary import (
    data_table,
    epoch_text,
    record_table,
    result_table,
    runs_table,
    slice_table,
)

TEST = {"loss": 0.51234, "auc": 0.81736, "accuracy": 0.74}


def lines(shown) -> list[list[str]]:
    return [line.split() for line in text(shown).splitlines()]


def text(shown, **options) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False, **options)
    console.print(shown)
    return console.file.getvalue()


def test_the_data_is_counted_by_part(make_experiment):
    data = load_data(make_experiment())
    table = {line[0]: line[1:] for line in lines(data_table(data))}
    for part, events in (("train", 1200), ("valid", 150), ("test", 150)):
        rows = getattr(data.split, part)
        assert table[part] == [
            f"{events:,}",
            f"{int(data.labels[rows].sum()) / events:.2%}",
            str(len(set(data.schema.interactions.user[rows].tolist()))),
            str(len(set(data.schema.interactions.item[rows].tolist()))),
        ]
    assert table["all"] == ["1,500", f"{int(data.labels.sum()) / 1500:.2%}", "60", "40"]


def test_an_epoch_is_one_line():
    names = [f"{part}/{name}" for part in ("train", "valid") for name in ("loss", "auc", "accuracy")]
    row = {name: number / 8 for number, name in enumerate(names, start=1)} | {"valid/user_auc": 0.9}
    row |= {"epoch": 7, "seconds": 1.26, "samples_per_second": 98765}
    assert epoch_text(row).plain == (
        "epoch   7  train loss 0.1250 auc 0.2500 accuracy 0.3750  valid loss 0.5000 auc 0.6250 accuracy 0.7500"
        "  98,765 samples/s  1.3 s"
    )


def test_results_stand_beside_baselines_and_each_figure_is_compared_with_the_best():
    baselines = {
        "constant": {"loss": 0.69, "auc": 0.5, "accuracy": 0.75},
        "item mean": {"loss": 0.5, "auc": 0.8},
    }
    assert lines(result_table({"test": TEST, "baselines": baselines})) == [
        ["test", "loss", "auc", "accuracy"],
        ["this", "run", "0.5123", "0.8174", "0.7400"],
        ["constant", "0.6900", "0.5000", "0.7500"],
        ["item", "mean", "0.5000", "0.8000", "-"],
        ["over", "the", "best", "baseline", "+0.0123", "+0.0174", "-0.0100"],
    ]


def test_neither_the_best_reachable_nor_metrics_of_all_lists_are_compared():
    test = {"ndcg@10": 0.2, "recall@10": 0.3, "coverage@10": 0.5, "recall@100": 0.7}
    baselines = {
        "popularity": {"ndcg@10": 0.1, "recall@10": 0.1, "coverage@10": 0.1},
        "best reachable": {"ndcg@10": 1.0},
    }
    table = lines(result_table({"test": test, "baselines": baselines}))
    assert table[0] == ["test", "ndcg@10", "recall@10", "coverage@10"]
    assert table[-1] == ["over", "the", "best", "baseline", "+0.1000", "+0.2000"]


def test_the_record_is_reached_or_missed_metric_by_metric():
    comparisons = [Comparison("loss", 0.5, 0.4, 0.01), Comparison("auc", 0.8, 0.9, 0.2)]
    assert lines(record_table(comparisons))[1:] == [
        ["loss", "0.5000", "0.4000", "0.0100", "missed"],
        ["auc", "0.8000", "0.9000", "0.2000", "reached"],
    ]


def test_the_best_of_each_metric_is_bold():
    runs = {
        "a": Metrics.model_construct(test={"loss": 0.4, "auc": 0.7, "accuracy": 0.6}, best_epoch=3),
        "b": Metrics.model_construct(test={"loss": 0.5, "auc": 0.8, "accuracy": 0.6}, best_epoch=12),
    }
    assert lines(runs_table(runs))[1:] == [
        ["a", "3", "0.4000", "0.7000", "0.6000"],
        ["b", "12", "0.5000", "0.8000", "0.6000"],
    ]
    styled = text(runs_table(runs), force_terminal=True, color_system="standard", legacy_windows=False, no_color=False)
    bold = [
        re.search(rf"\x1b\[1m *{number}", styled) is not None
        for number in ("0.4000", "0.7000", "0.6000", "0.5000", "0.8000")
    ]
    assert bold == [True, False, True, False, True]


def test_the_table_has_a_row_a_slice():
    figures = {
        "Action": {"events": 12345, "loss": 0.5, "auc": 0.75},
        "Drama": {"events": 1, "loss": 0.25, "auc": None},
    }
    assert lines(slice_table("genres", figures)) == [
        ["genres", "events", "loss", "auc"],
        ["Action", "12,345", "0.5000", "0.7500"],
        ["Drama", "1", "0.2500", "-"],
    ]
