"""A contender that uses Python filelock's SoftFileLock: a record in a file, as ours.

Speaks the protocol of worker.rs. Usage: filelock_worker.py RESOURCE ID
"""

import os
import sys
import time

from filelock import SoftFileLock

resource, me = sys.argv[1], int(sys.argv[2])


def note(shared):
    data = os.pread(shared, 24, 0)
    last, holds, changes = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8, 16))
    after = (me + 1, holds + 1, changes + (last != me + 1))
    os.pwrite(shared, b"".join(n.to_bytes(8, "little") for n in after), 0)


def compete(duration, shared):
    cpu_before, start = time.process_time_ns(), time.monotonic_ns()
    holds = longest = 0
    while time.monotonic_ns() - start < duration:
        asked = time.monotonic_ns()
        lock = SoftFileLock(resource + ".lock")
        lock.acquire()
        longest = max(longest, time.monotonic_ns() - asked)
        note(shared)
        lock.release()
        holds += 1
    return holds, longest, time.process_time_ns() - cpu_before


def answer(*numbers):
    print(*numbers, flush=True)


answer(0)
held = None
for line in sys.stdin:
    order, *arguments = line.split()
    if order == "a":
        held = SoftFileLock(resource + ".lock")
        held.acquire()
        answer(time.monotonic_ns())
    elif order == "r":
        before = time.monotonic_ns()
        held.release()
        answer(before)
    elif order == "c":
        answer(*compete(int(arguments[0]), os.open(arguments[1], os.O_RDWR)))
