"""Passes the batches of a dataset to Lightning."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningDataModule

from towerzoo.datasets import TwoTowerData
from towerzoo.datasets.batches.loaders import BatchLoader, EpochLoader


class DataModule(LightningDataModule):
    """The batches of a dataset, on the device that trains.

    Args:
        data: The dataset.
        share: This process's share of each training batch: its index, and the number of shares.
    """

    def __init__(self, data: TwoTowerData, share: tuple[int, int] = (0, 1)) -> None:
        super().__init__()
        self.data = data
        self.share = share

    def train_dataloader(self) -> EpochLoader:
        """Returns the training batches."""
        return self.data.train_batches(self._device, self.share)

    def val_dataloader(self) -> BatchLoader:
        """Returns the validation pairs."""
        return self.data.batches("valid", self._device)

    def test_dataloader(self) -> BatchLoader:
        """Returns the test pairs."""
        return self.data.batches("test", self._device)

    @property
    def _device(self) -> torch.device | None:
        return None if self.trainer is None else self.trainer.strategy.root_device
