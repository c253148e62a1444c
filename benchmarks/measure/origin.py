"""Where measurements come from: machine, device, versions, commit, date."""

from __future__ import annotations

import os
import platform
from datetime import datetime

import torch
from pydantic import BaseModel, ConfigDict

from towerzoo.benchmarks.measure.roofline import Roofline
from towerzoo.towers.runs.environment import device_name, environment


class Origin(BaseModel):
    """Where the records of a file come from.

    Attributes:
        device: The device that computed, such as `cpu (AMD EPYC)`.
        cpu: Model of the processor.
        cores: Processors available to the measurement.
        threads: Torch's number of threads, unless a record's parameters say otherwise.
        platform: Operating system and processor family.
        python: Version of Python.
        packages: Versions of the packages that figures depend on.
        commit: TowerZoo's commit, with `+` if files differ from it; None outside a checkout.
        date: Day on which the measurement ended.
        data: The dataset; `made by the suite` if the suite needs none.
        quick: Whether fewer parameters and rounds were measured.
        roofline: The device's best rates, measured in the same run; None if no record needed them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    cpu: str
    cores: int
    threads: int
    platform: str
    python: str
    packages: dict[str, str | None]
    commit: str | None = None
    date: str
    data: str
    quick: bool
    roofline: Roofline | None = None

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(" ")[0]


def usable_cores() -> int:
    """Returns the number of processors that this process may run on."""
    # Affinity is not available on every system.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here(device: str, *, data: str, quick: bool, roofline: Roofline | None = None) -> Origin:
    """Returns the origin of this process's measurements on a device.

    Args:
        device: `cpu` or `cuda`.
        data: The dataset.
        quick: Whether fewer parameters and rounds were measured.
        roofline: The device's best rates, if they were measured.
    """
    # Without the kernel's release, which says more about a provider than about speed.
    about = environment(torch.device(device)) | {"platform": f"{platform.system()} {platform.machine()}"}
    return Origin(
        cpu=device_name(torch.device("cpu")).removeprefix("cpu (").removesuffix(")"),
        cores=usable_cores(),
        date=datetime.now().astimezone().date().isoformat(),
        data=data,
        quick=quick,
        roofline=roofline,
        **about,
    )
