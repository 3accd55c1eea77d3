"""Runs the scenarios of one place: boots a server and its clients, and appends the outcomes to a report.

Exits with 1 if a promise was broken, or if a control finds nothing.
"""

import argparse
import pathlib
import signal
import sys
import time

import scenarios
from machines import CLOCKS, Machine, network
from scenarios import Cluster
from witness import Violation, Witness

# Each with whether the witness must find overlaps.
SHORT = [
    (scenarios.contention, False),
    (scenarios.contention_without_exclusion, True),
    (scenarios.dead_host, False),
]
LONG = [
    *SHORT,
    (scenarios.short_cut, False),
    (scenarios.long_cut, False),
    (scenarios.long_cut_of_a_blind_holder, True),
    (scenarios.server_restart, False),
]

# Ages for tests, in seconds; the defaults of a kernel NFS server are 90.
STALE_AFTER, LEASE = 30, 10


def run(scenario, finds_overlaps, cluster):
    """The outcome, and whether it is as it must be."""
    try:
        cluster.boot()
        outcome = scenario(cluster)
    except Violation as violation:
        cluster.witness.take_violations()
        return f"VIOLATION: {violation}", False
    overlaps = cluster.witness.take_violations()
    if not overlaps:
        return f"{outcome}; 0 overlaps", not finds_overlaps
    found = f"{outcome}; {len(overlaps)} overlaps, the first: {overlaps[0]}"
    return (f"as it must: {found}", True) if finds_overlaps else (f"VIOLATION: {found}", False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--report", required=True)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()

    # So that the machines are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    witness = Witness()
    names = ["server", "one", "two"] if arguments.short else list(CLOCKS)
    stale_after, lease = (0, 90) if arguments.defaults else (STALE_AFTER, LEASE)
    joined = network()
    machines = [
        Machine(name, number + 1, joined, witness, arguments.place, lease, arguments.work)
        for number, name in enumerate(names)
    ]
    failed = False
    with open(arguments.report, "a") as report:

        def print_row(what, outcome):
            print(f"{what}: {outcome}", flush=True)
            print(arguments.place, what, outcome, sep="\t", file=report, flush=True)

        try:
            began = time.monotonic()
            cluster = Cluster(arguments.place, machines, witness, stale_after, lease)
            cluster.boot()
            offsets = ", ".join(f"{name} {witness.hosts[name][2]:+.0f} s" for name in names)
            boots = len({boot for _, boot, _ in witness.hosts.values()})
            print_row("hosts", f"{boots} kernels booted in {time.monotonic() - began:.0f} s; their clocks: {offsets}")
            for scenario, finds_overlaps in SHORT if arguments.short else LONG:
                if arguments.only not in scenario.__name__:
                    continue
                if scenario is scenarios.long_cut_of_a_blind_holder and arguments.place == "nfs3":
                    # No waiter can have the lock before its host is back.
                    continue
                outcome, is_right = run(scenario, finds_overlaps, cluster)
                print_row(scenario.__name__.replace("_", " "), outcome)
                failed |= not is_right
        except Violation as violation:
            print_row("hosts", f"VIOLATION: {violation}")
            failed = True
        finally:
            for machine in machines:
                if machine.runs():
                    machine.die()
                if failed:
                    print(f"--- the console of {machine.name}")
                    print("\n".join(pathlib.Path(machine.console).read_text(errors="replace").splitlines()[-25:]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
