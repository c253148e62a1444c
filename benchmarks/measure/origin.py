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
        device: What computed, such as `cpu (AMD EPYC)`.
        cpu: Model of the processor.
        cores: Processors that the measurement could use.
        threads: Threads that torch used, where a record's parameters do not say otherwise.
        platform: Operating system and processor family.
        python: Version of Python.
        packages: Versions of the packages that figures depend on.
        commit: TowerZoo's commit, with `+` where files differ from it; None outside a checkout.
        date: Day on which the measurement ended.
        data: The dataset that was measured on; `made by the suite` where that needs none.
        quick: Whether fewer parameters and rounds were measured.
        roofline: What the device does at best, measured in the same run; None where no record was held against it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    cpu: str
    cores: int
    threads: int
    platform: str
    python: str
    packages: dict[str, str | None]
    commit: str | None
    date: str
    data: str
    quick: bool
    roofline: Roofline | None

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(" ")[0]


def usable_cores() -> int:
    """Returns how many processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def here(device: str, *, data: str, quick: bool, roofline: Roofline | None) -> Origin:
    """Returns the origin of what this process measured on a device.

    Args:
        device: `cpu` or `cuda`.
        data: The dataset that was measured on.
        quick: Whether fewer parameters and rounds were measured.
        roofline: What the device does at best, where it was measured.
    """
    # Without the kernel's release, which says more of a provider than of speed.
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
