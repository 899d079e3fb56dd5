"""Runs a command, its output thrown away, and prints its seconds, its peak memory as the system has it, and its exit code.

A program of its own, which timing.process starts, because Linux counts the memory of a child from before its exec: started by a
process with torch in it, no child would seem to take less than torch.
"""

import os
import sys
import time

start = time.perf_counter()
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
# Only wait4 tells this child's own memory from that of the children before it.
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - start, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
