"""Runs a command and prints its seconds and its peak of resident bytes.

Linux counts the memory of the starting process as the command's own at its start. So the starting process is this one,
which imports little.

python -S benchmarks/measure/started_process.py python tools/train.py --help
"""

import os
import subprocess
import sys
import time

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of `ru_maxrss`."""

if __name__ == "__main__":
    started = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    sys.stdout.write(f"{seconds} {usage.ru_maxrss * MAXRSS_UNIT}\n")
    sys.exit(process.returncode)
