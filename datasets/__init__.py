"""Turns raw files into a star schema of tensors, splits it, and yields batches. Knows no model."""

from towerzoo.datasets.star_schema import Column, ColumnNames, Dataset, Interactions, StarSchema, Table
from towerzoo.datasets.vocabulary import UNKNOWN, Vocabulary

__all__ = [
    "UNKNOWN",
    "Column",
    "ColumnNames",
    "Dataset",
    "Interactions",
    "StarSchema",
    "Table",
    "Vocabulary",
]
