"""Turns raw files into a star schema of tensors, splits it, and yields batches. Knows no model."""

from towerzoo.datasets.batches import Batch, BatchLoader
from towerzoo.datasets.datamodule import TwoTowerData
from towerzoo.datasets.encoding import encode_column, encode_table
from towerzoo.datasets.movielens import MovieLens1M, MovieLens100K
from towerzoo.datasets.splits import Split
from towerzoo.datasets.star_schema import Column, ColumnNames, Dataset, Interactions, StarSchema, Table
from towerzoo.datasets.synthetic import Synthetic
from towerzoo.datasets.tabular import Tabular
from towerzoo.datasets.vocabulary import UNKNOWN, Vocabulary

__all__ = [
    "UNKNOWN",
    "Batch",
    "BatchLoader",
    "Column",
    "ColumnNames",
    "Dataset",
    "Interactions",
    "MovieLens1M",
    "MovieLens100K",
    "Split",
    "StarSchema",
    "Synthetic",
    "Table",
    "Tabular",
    "TwoTowerData",
    "Vocabulary",
    "encode_column",
    "encode_table",
]
