"""Trains a config several times, each in a child whose memory is limited to some mebibytes beyond what imports take.

    python limited_training.py CONFIG MEBIBYTES OUT OVERRIDE [OVERRIDE ...]

Each OVERRIDE is a KEY.PATH=VALUE of one training. Prints `OVERRIDE: STATUS` behind what the training prints.
"""

import os
import re
import resource
import sys
from pathlib import Path

import pyarrow
import torch

from towerzoo.tools.train import main
from towerzoo.towers.recipes import train as training  # noqa: F401  (what a command imports when it runs)

config, room, out, *overrides = sys.argv[1:]
torch.set_num_threads(1)
pyarrow.set_cpu_count(1)
pyarrow.set_io_thread_count(1)
for override in overrides:
    child = os.fork()
    if not child:
        used = int(re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
        limit = used + (int(room) << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        main([config, "--device", "cpu", "--out", out, "--set", override])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"{override}: {status}", flush=True)
