"""What happens to the hosts, and what must hold. Each scenario returns what it proved."""

import time

from witness import Violation

# Processes of each client in a race, and how often each acquires.
RACERS, ROUNDS = 3, 8

# What an emulated host may need for an answer on a machine that is busy.
SLOW = 120


class Cluster:
    def __init__(self, place, machines, witness, stale_after, lease):
        self.place, self.witness, self.lease = place, witness, lease
        self.machines = {machine.name: machine for machine in machines}
        self.server = self.machines["server"]
        self.clients = [name for name in self.machines if name != "server"]
        # Beyond that a lock is stale; half of it is after which a holder counts itself lost.
        self.stale_after = stale_after or 300
        self.environment = f"RVLF_STALE_AFTER={stale_after} " if stale_after else ""

    def boot(self):
        """Boots the machines that do not run, and connects those that a scenario left disconnected."""
        off = [machine for machine in self.machines.values() if not machine.runs()]
        for machine in off:
            machine.boot()
        for machine in off:
            machine.wait_until_booted()
        for machine in self.machines.values():
            machine.set_link("on")

    def start(self, mode, path, host, number=0, rounds=""):
        """Starts a contender; PATH names the file, and no two scenarios use the same."""
        name = f"{path}.{host}.{number}"
        address = f"10.0.2.2:{self.witness.port}"
        self.machines[host].run(f"{self.environment}/rvlf/contender {mode} {rounds} /mnt/dir/{path} {address} {name}")
        return self.witness.contender(name, SLOW)

    def holder(self, path, host, mode="keep"):
        """A holder that has written, so that its lock is in use."""
        holder = self.start(mode, path, host)
        self.witness.wait(f"{holder.name} writes", SLOW, lambda: holder.writes > 2)
        return holder

    def waiters(self, path, hosts):
        return [self.start("keep", path, host) for host in hosts]

    def wait_for_any(self, waiters, seconds):
        def inside():
            return next((waiter for waiter in waiters if waiter.is_inside), None)

        return self.witness.wait("a waiter gets the lock", seconds, inside)

    def ensure_none_inside(self, waiters, violation):
        """For longer than it takes elsewhere to get the lock of a host that is gone."""
        time.sleep(self.stale_after + self.lease)
        if any(waiter.is_inside for waiter in waiters):
            raise Violation(violation)

    def end(self, *contenders):
        """Each may end its hold, and must do so."""
        for contender in contenders:
            contender.may_end = True
        for contender in contenders:
            self.witness.wait(f"{contender.name} ends", self.stale_after + SLOW, lambda: contender.gone)
            if contender.last_words != "done":
                raise Violation(f"{contender.name} ended with: {contender.last_words or 'no word'}")


def race(cluster, mode, path, rounds=ROUNDS):
    racers = [
        cluster.start(mode, path, host, number, rounds) for number in range(RACERS) for host in cluster.clients
    ]
    began = time.monotonic()
    try:
        cluster.witness.wait("all contenders end", 4 * SLOW, lambda: all(racer.gone for racer in racers))
    except Violation as violation:
        raise Violation(f"{violation}, after {sum(racer.holds for racer in racers)} holds") from None
    for racer in racers:
        if racer.last_words != "done":
            raise Violation(f"{racer.name} ended with: {racer.last_words or 'no word'}")
    holds = sum(racer.holds for racer in racers)
    return f"{holds} holds of {len(racers)} processes in {time.monotonic() - began:.0f} s"


def contention(cluster):
    return race(cluster, "rounds", "contention")


def contention_without_exclusion(cluster):
    """A control: the witness must find that these holds overlap."""
    return race(cluster, "unlocked-rounds", "unlocked")


def dead_host(cluster):
    *others, victim = cluster.clients
    holder = cluster.holder("dead", victim)
    waiters = cluster.waiters("dead", others)
    died = time.monotonic()
    cluster.machines[victim].die()
    until = ""
    if cluster.place == "nfs3":
        # lockd keeps the lock until statd of the dead host reports the next boot.
        cluster.ensure_none_inside(waiters, "lockd gave up the lock of a host that has not booted again")
        cluster.boot()
        until = ", which booted again before that,"
    heir = cluster.wait_for_any(waiters, cluster.stale_after + cluster.lease + SLOW)
    waited = heir.entered - died
    if waited < cluster.stale_after / 2:
        raise Violation(f"the lock of a dead host was broken after {waited:.1f} s")
    if not heir.reclaimed:
        raise Violation("the next holder did not learn of the dead one")
    cluster.end(*waiters)
    return f"the next holder had the lock {waited:.0f} s after SIGKILL of its holder's host{until} and learnt of the dead holder"


def short_cut(cluster):
    victim, *others = cluster.clients
    seconds = cluster.stale_after / 5
    holder = cluster.holder("short", victim)
    waiters = cluster.waiters("short", others)
    cluster.machines[victim].set_link("off")
    time.sleep(seconds)
    cluster.machines[victim].set_link("on")
    writes = holder.writes
    cluster.witness.wait("the holder writes again", SLOW, lambda: holder.writes > writes + 2 or holder.gone)
    if holder.lost:
        raise Violation(f"a holder that was cut off for {seconds:.0f} s lost its lock: {holder.last_words}")
    cluster.end(holder, *waiters)
    return f"cut off for {seconds:.0f} s: the holder kept the lock, and no other one had it before its release"


def long_cut(cluster, mode="keep"):
    victim, *others = cluster.clients
    holder = cluster.holder("long", victim, mode)
    waiters = cluster.waiters("long", others)
    cut = time.monotonic()
    cluster.machines[victim].set_link("off")
    if cluster.place == "nfs3":
        # lockd keeps the lock until the host is back.
        cluster.ensure_none_inside(waiters, "lockd gave up the lock of a host that was cut off")
        cluster.machines[victim].set_link("on")
    heir = cluster.wait_for_any(waiters, cluster.stale_after + cluster.lease + SLOW)
    taken, knew = heir.entered - cut, holder.lost and holder.lost - cut
    if mode == "keep" and not (knew and knew < taken):
        raise Violation(f"the next holder had the lock after {taken:.0f} s, and the holder did not know: {knew}")
    cluster.machines[victim].set_link("on")
    writes = holder.writes
    if mode == "keep":
        cluster.witness.wait("the lost holder ends", cluster.stale_after + SLOW, lambda: holder.gone)
    else:
        cluster.witness.wait("the blind holder writes", cluster.stale_after + 2 * SLOW, lambda: holder.writes > writes)
        holder.may_end = True
    cluster.end(*waiters)
    if mode != "keep":
        return "a holder that did not check wrote on"
    late = sum(waiter.overwritten for waiter in waiters)
    until = " (until its host was back)" if cluster.place == "nfs3" else ""
    return (
        f"cut off for {taken:.0f} s{until}: the holder knew of its loss after {knew:.0f} s, the next one had the lock after"
        f" {taken:.0f} s; the lost one began {holder.writes - writes} writes after that, and {late} of before the cut came late"
    )


def long_cut_of_a_blind_holder(cluster):
    """A control: a holder that does not check must be found to write beside the next one."""
    return long_cut(cluster, "keep-blindly")


def server_restart(cluster):
    victim, *others = cluster.clients
    holder = cluster.holder("restart", victim)
    waiters = cluster.waiters("restart", others)
    began = time.monotonic()
    cluster.server.die()
    cluster.boot()
    writes = holder.writes
    cluster.witness.wait(
        "the holder goes on", cluster.stale_after + SLOW, lambda: holder.writes > writes + 2 or holder.gone
    )
    away = time.monotonic() - began
    fate = f"lost it ({holder.last_words})" if holder.lost else "kept the lock"
    cluster.end(*([] if holder.lost else [holder]), *waiters)
    return f"the server died and served again after {away:.0f} s: the holder {fate}, and the waiters had it after it"
