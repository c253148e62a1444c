"""Runs a command, and prints the seconds that it took and the bytes that it held at most.

Linux counts as held by a command what the process that starts it holds then. So this is a process of its own, that
imports little, and not the benchmark.

python -S benchmarks/measure/started_process.py python tools/train.py --help
"""

import os
import subprocess
import sys
import time

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes; what a process's largest resident memory is told in."""

if __name__ == "__main__":
    started = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    sys.stdout.write(f"{seconds} {usage.ru_maxrss * MAXRSS_UNIT}\n")
    sys.exit(process.returncode)
