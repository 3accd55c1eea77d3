"""The witness: programs on the hosts report the holds of a lock, which it knows nothing about.

A report is a line, and is answered before the program goes on: a hold is counted from after its acquisition
until before its release. The hosts also come here for the commands that they run.
"""

import socket
import threading
import time


class Violation(Exception):
    """A promise that was broken."""


class Contender:
    """A process on a host that takes a lock, as its reports show it."""

    def __init__(self, name):
        self.name = name
        self.entered = self.lost = self.gone = None
        self.is_inside = self.reclaimed = self.may_end = False
        self.holds = self.writes = self.overwritten = 0
        self.last_words = ""


class Witness:
    def __init__(self):
        self.changed = threading.Condition()
        self.contenders = {}
        self.hosts = {}
        self.violations = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        lines = connection.makefile("r")
        try:
            kind, name, *facts = lines.readline().split()
        except (ValueError, OSError):
            return
        if kind == "host":
            with self.changed:
                self.hosts[name] = (connection, facts[0], float(facts[1]) - time.time())
                self.changed.notify_all()
            return
        contender = Contender(name)
        with self.changed:
            self.contenders[name] = contender
        connection.sendall(b"ok\n")
        try:
            for line in lines:
                connection.sendall(self._hear(contender, line.strip()).encode() + b"\n")
        except OSError:
            pass
        with self.changed:
            contender.gone = time.monotonic()
            contender.is_inside = False
            self.changed.notify_all()

    def _hear(self, contender, line):
        word, _, rest = line.partition(" ")
        with self.changed:
            self.changed.notify_all()
            if word == "enter":
                self._note_overlaps(contender, "entered")
                contender.is_inside, contender.entered = True, time.monotonic()
                contender.reclaimed = rest.endswith("reclaimed")
                contender.holds += 1
            elif word == "write":
                contender.writes += 1
                if not contender.is_inside:
                    self.violations.append(f"{contender.name} wrote after it knew that its lock was lost")
                self._note_overlaps(contender, "wrote")
                return "release" if contender.may_end else "ok"
            elif word == "overwritten":
                contender.overwritten += 1
            else:
                contender.is_inside = False
                contender.last_words = line
                if word in ("lost", "ended") and contender.lost is None:
                    contender.lost = time.monotonic()
        return "ok"

    def _note_overlaps(self, contender, verb):
        # Every lock of a scenario has contenders of its own names: PATH.HOST.NUMBER.
        path = contender.name.split(".")[0]
        for other in self.contenders.values():
            if other.is_inside and other is not contender and other.name.split(".")[0] == path:
                self.violations.append(f"{contender.name} {verb} while {other.name} had the lock")

    def take_violations(self):
        """Those of the scenario that has ended, and forgets its contenders."""
        with self.changed:
            violations, self.violations, self.contenders = self.violations, [], {}
            return violations

    def wait(self, what, seconds, condition):
        """Until the condition returns something; returns that."""
        with self.changed:
            found, end = condition(), time.monotonic() + seconds
            # Also without a report: a machine may have ended.
            while not found and time.monotonic() < end:
                self.changed.wait(1)
                found = condition()
        if not found:
            raise Violation(f"{what}: not within {seconds:.0f} s")
        return found

    def contender(self, name, seconds=60):
        return self.wait(f"{name} starts", seconds, lambda: self.contenders.get(name))
