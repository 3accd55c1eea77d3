"""A contender that uses Python filelock's SoftFileLock: a record in a file, as ours.

Speaks the protocol of contender.rs. Usage: filelock_worker.py DATA ID
"""

import os
import sys
import time

from filelock import SoftFileLock

data_path, own_id = sys.argv[1], int(sys.argv[2])


def add_to_tally(tally):
    data = os.pread(tally, 24, 0)
    last, holds, changes = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8, 16))
    after = (own_id + 1, holds + 1, changes + (last != own_id + 1))
    os.pwrite(tally, b"".join(n.to_bytes(8, "little") for n in after), 0)


def compete(duration, tally):
    cpu_before, start = time.process_time_ns(), time.monotonic_ns()
    holds = longest = 0
    while time.monotonic_ns() - start < duration:
        started = time.monotonic_ns()
        lock = SoftFileLock(data_path + ".lock")
        lock.acquire()
        longest = max(longest, time.monotonic_ns() - started)
        add_to_tally(tally)
        lock.release()
        holds += 1
    return holds, longest, time.process_time_ns() - cpu_before


def reply(*numbers):
    print(*numbers, flush=True)


reply(0)
held = None
for line in sys.stdin:
    request, *arguments = line.split()
    if request == "a":
        held = SoftFileLock(data_path + ".lock")
        held.acquire()
        reply(time.monotonic_ns())
    elif request == "r":
        before = time.monotonic_ns()
        held.release()
        reply(before)
    elif request == "c":
        reply(*compete(int(arguments[0]), os.open(arguments[1], os.O_RDWR)))
