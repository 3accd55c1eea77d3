"""Kills a virtual machine that writes, boots it again, and shows its disks as other cuts would leave them.

    power_cuts.py names                            the file systems, for the guest
    power_cuts.py run WORK CHECKER [--short] ..    see scripts/power
"""

import argparse
import collections
import datetime
import pathlib
import platform
import random
import re
import subprocess
import sys
import time

import power_disk

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20

# How each file system is made, and how large it has to be.
FILE_SYSTEMS = {
    "ext4": (64, ["mkfs.ext4", "-q", "-b", "4096"]),
    "ext4-nojournal": (64, ["mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal"]),
    "xfs": (320, ["mkfs.xfs", "-q"]),
    "btrfs": (160, ["mkfs.btrfs", "-q"]),
}

# Without a journal the kernel itself does not keep what was synced: there the outcomes are counted, and
# none is a failure.
WITHOUT_PROMISE = {"ext4-nojournal"}

# What the writers of one file system note, with the note that its directory was emptied.
ITEMS = 8

# A guest boots in seconds. On a machine with much other work one took more than 300 s.
BOOT_LIMIT = 900

# How many ways there are to publish a lock, which the writers take in turn.
PUBLISHES = 3


class Machine:
    """The guest and its disks."""

    def __init__(self, work):
        self.work = work
        self.clock = power_disk.Clock()
        self.disks = {}
        for name, (size, make) in FILE_SYSTEMS.items():
            self.disks[name] = power_disk.Disk(self.clock, work / f"{name}.img", size * MIB)
            subprocess.run([*make, work / f"{name}.img"], check=True, stdout=subprocess.DEVNULL)
        self.marks = power_disk.Marks(self.clock)
        self.expected = power_disk.Expected()
        exports = {**self.disks, "marks": self.marks, "expected": self.expected}
        self.server = power_disk.Server(work / "disks", exports)
        self.console = work / "console"
        self.process = None

    def boot(self):
        """Boots, and returns when the guest has checked its disks and all its writers have begun."""
        self.expected.text = self.marks.until(self.clock.now).encode()
        self.marks.notes = []
        for disk in self.disks.values():
            disk.plug_in()
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024", "-nographic"]
        command += ["-no-reboot", "-kernel", *self.work.glob("kernel/boot/vmlinuz-*"), "-initrd", self.work / "initrd"]
        command += ["-append", "console=ttyS0 quiet no_timer_check panic=-1 rdinit=/init"]
        for name in self.server.exports:
            file = f"nbd+unix:///{name}?socket={self.work}/disks"
            read_only = "on" if name == "expected" else "off"
            command += ["-drive", f"if=none,id={name},format=raw,readonly={read_only},file={file}"]
            sectors = f"logical_block_size={power_disk.SECTOR},physical_block_size={power_disk.BLOCK}"
            command += ["-device", f"virtio-blk-pci,drive={name},serial={name},{sectors}"]
        with open(self.console, "wb") as console:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        deadline = time.monotonic() + BOOT_LIMIT
        while not self.has_begun():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise SystemExit(f"the guest did not come up:\n{self.console.read_text(errors='replace')}")
            time.sleep(0.1)

    def has_begun(self):
        items = {tuple(note.split()[:2]) for _, note in list(self.marks.notes)}
        return len(items) >= len(self.disks) * ITEMS

    def emptied(self):
        """When the directory of each file system was emptied."""
        notes = [(moment, note.split()) for moment, note in list(self.marks.notes)]
        return {note[0]: moment for moment, note in notes if note[1:] == ["all", "emptied"]}

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.server.drain()

    def reports(self):
        """What the guest has printed since its boot."""
        return self.console.read_text(errors="replace").splitlines()


class Tally:
    """How often each check ended in which way."""

    def __init__(self, is_long):
        # Whether there are enough cuts for each kind of them.
        self.is_long = is_long
        self.checks = collections.Counter()
        self.cuts = collections.Counter()
        self.boot_ids = set()
        # Now: an hour later another one may be checked out.
        head = ["git", "rev-parse", "--short=12", "HEAD"]
        self.commit = subprocess.run(head, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    def take(self, lines, how, cut):
        for line in lines:
            # The firmware's last line has no end.
            if found := re.search(r"boot \| (\S+)", line):
                self.boot_ids.add(found.group(1))
            fields = line.strip().split(" | ", 4)
            if fields[0] != "power":
                continue
            _, name, item, verdict, outcome = fields
            if verdict == "BROKEN":
                if self.is_promised(name, item):
                    print(f"BROKEN: {name} {item} {outcome} ({how}, {cut})", flush=True)
                # Which entry it is differs each time.
                outcome = "BROKEN"
            self.checks[item, outcome, name] += 1

    @staticmethod
    def is_promised(name, item):
        return name not in WITHOUT_PROMISE and not item.startswith("control-")

    def problems(self):
        for (item, outcome, name), count in self.checks.items():
            if outcome == "BROKEN" and self.is_promised(name, item):
                yield f"{name}: {item} was broken by {count} cuts"
        for control in sorted({item for item, _, _ in self.checks if item.startswith("control-")}):
            if not any(self.checks[control, "BROKEN", name] for name in FILE_SYSTEMS if name not in WITHOUT_PROMISE):
                yield f"{control} lost nothing: these cuts do not test the promise"
        held = {outcome for item, outcome, _ in self.checks if item == "lock" and outcome.startswith("held, and there")}
        if not held:
            yield "no cut came while the lock was held"
        if self.is_long:
            if len(held) < PUBLISHES:
                yield f"no cut came while a lock was held that was published in another way than: {', '.join(held)}"
            for name in FILE_SYSTEMS:
                if not self.cuts[name, "torn"]:
                    yield f"no cut tore a block of {name}"


def replay(machine, checker, name, count, tally):
    """Shows the disk to this kernel as cuts at `count` moments leave it."""
    disk = machine.disks[name]
    since = machine.emptied()[name]
    moments = [event.moment for event in disk.events if event.moment > since]
    moments = random.sample(moments, min(count, len(moments)))
    dir = machine.work / "cut"
    dir.mkdir(exist_ok=True)
    for moment, is_torn, image in disk.cuts(moments, [power_disk.BLOCK, power_disk.SECTOR]):
        if name == "ext4-nojournal":
            subprocess.run(["e2fsck", "-fy", image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # A process in another mount namespace may still have the image before this one mounted: xfs refuses a
        # second file system with one UUID.
        options = "loop,nouuid" if name == "xfs" else "loop"
        mounted = subprocess.run(["mount", "-o", options, image, dir], capture_output=True, text=True)
        if mounted.returncode and is_torn:
            # The superblocks of ext4 (1 KiB) and btrfs (4 KiB) have one checksum: torn, they are not accepted.
            lines = [f"power | {name} | disk | lost | not mounted after a cut that tore blocks"]
        elif mounted.returncode:
            lines = [f"power | {name} | disk | BROKEN | cannot be mounted: {mounted.stderr.strip()}"]
        else:
            check = [checker, "check", dir, name]
            notes = machine.marks.until(moment)
            checked = subprocess.run(check, input=notes, capture_output=True, text=True)
            lines = checked.stdout.splitlines()
            lines += [f"power | {name} | check | BROKEN | {line}" for line in checked.stderr.splitlines()]
            subprocess.run(["umount", dir], check=True)
        tally.take(lines, "replayed", moment)
        tally.cuts[name, "replayed"] += 1
        tally.cuts[name, "torn"] += is_torn and not mounted.returncode


def cut_power(machine, checker, arguments, tally):
    """Yields after each kill, when its disks have been checked."""
    machine.boot()
    for number in range(1, arguments.kills + 1):
        time.sleep(random.uniform(1, arguments.seconds))
        machine.kill()
        for name in machine.disks:
            replay(machine, checker, name, arguments.replays, tally)
        for name, disk in machine.disks.items():
            tally.cuts[name, "writes"] += sum(1 for event in disk.events if event.data)
            tally.cuts[name, "flushes"] += sum(1 for event in disk.events if not event.data)
            disk.lose_power()
        machine.boot()
        tally.take(machine.reports(), "killed", number)
        for name in machine.disks:
            tally.cuts[name, "kills"] += 1
        print(f"kill {number} of {arguments.kills}: {sum(tally.checks.values())} checks so far", flush=True)
        yield number
    machine.kill()


# ---------------------------------------------------------------- the file


def table(first, rows, cell):
    """Rows by file systems."""
    yield f"| {first} | {' | '.join(FILE_SYSTEMS)} |"
    yield "|---" * (1 + len(FILE_SYSTEMS)) + "|"
    for row in rows:
        yield f"| {row} | {' | '.join(f'{cell(row, name):,}' for name in FILE_SYSTEMS)} |"


def report(tally, command):
    what = {
        "kills": "QEMU killed, and the guest booted again",
        "replayed": "other cuts, replayed to the host's kernel",
        "torn": "of these, cuts that tore blocks and were checked",
        "writes": "writes that the disk had taken",
        "flushes": "flushes",
    }
    titles = {
        "lock": "The lock, `Durability::Sync`",
        "usable-lock": "The next holder of that lock",
        "usable-control-lock": "The next holder of a lock of `Durability::None`",
        "table": "The allocation table",
        "log": "The log of the example append_log",
        "data": "Data that is written and synced under a lock of `Durability::None`",
        "control-lock": "Control: a lock of `Durability::None`, held to the promise of `Durability::Sync`",
        "control-table": "Control: the table, its syncs without effect",
        "control-log": "Control: the log, its syncs without effect",
        "disk": "The file system",
    }
    kernel = platform.release().split("-")[0]
    yield f"# Losses of power, measured on {datetime.date.today()}"
    yield ""
    yield f"Written by `{command}. Commit {tally.commit}. Guest: Debian's linux-image-cloud-amd64 in QEMU, `-accel tcg`;"
    yield f"host: Linux {kernel}. The disk keeps what was flushed before the cut, and of the later writes any part:"
    yield "any blocks of 4 KiB, and where it tears blocks any sectors of 512 bytes."
    yield f"Boots after a kill that had a boot id of their own: {len(tally.boot_ids)}. BROKEN: the check failed, as a"
    yield "control's must now and then. Nothing is promised of ext4 without a journal: there the kernel loses data"
    yield "that was synced, also where no lock is involved."
    yield ""
    rows = {label: key for key, label in what.items()}
    yield from table("", rows, lambda row, name: tally.cuts[name, rows[row]])
    for item, title in titles.items():
        outcomes = sorted({outcome for of, outcome, _ in tally.checks if of == item})
        if outcomes:
            yield from ["", f"## {title}", ""]
            yield from table("after the cut", outcomes, lambda row, name: tally.checks[item, row, name])
    others = sorted({item for item, _, _ in tally.checks} - set(titles))
    yield from (f"\n**{item}: {sum(tally.checks[key] for key in tally.checks if key[0] == item)}**" for item in others)
    yield ""
    problems = list(tally.problems())
    yield from (f"**{problem}**" for problem in problems)
    if not problems:
        yield "Every promise was kept, and every control lost what it had to lose."


def run(arguments):
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}")
    machine = Machine(arguments.work)
    tally = Tally(arguments.kills >= 10)
    command = " ".join(["scripts/power", *sys.argv[4:]])
    try:
        for number in cut_power(machine, arguments.checker, arguments, tally):
            text = "\n".join(report(tally, f"{command}`, after kill {number} of {arguments.kills}")).rstrip() + "\n"
            if not arguments.short:
                # After each, so that a run that is cut short leaves its figures.
                (ROOT / "docs" / "measured" / f"{arguments.name}.md").write_text(text)
    finally:
        if machine.process and machine.process.poll() is None:
            machine.process.kill()
            machine.process.wait()
    print(text)
    return list(tally.problems())


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("names")
    runner = commands.add_parser("run")
    runner.add_argument("work", type=pathlib.Path)
    runner.add_argument("checker", type=pathlib.Path)
    runner.add_argument("--short", action="store_true")
    runner.add_argument("--kills", type=int)
    runner.add_argument("--name", default=f"{datetime.date.today()}-power")
    runner.add_argument("--replays", type=int, help="after each kill, of each file system")
    runner.add_argument("--seconds", type=float, help="the longest time from a boot to its kill")
    runner.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    if arguments.command == "names":
        print(*FILE_SYSTEMS)
        return
    kills, replays, seconds = (1, 30, 8) if arguments.short else (60, 40, 15)
    arguments.kills = arguments.kills or kills
    arguments.replays = arguments.replays or replays
    arguments.seconds = arguments.seconds or seconds
    sys.exit(1 if run(arguments) else 0)


if __name__ == "__main__":
    # The script that starts this one ends it by SIGTERM, and the guest must not outlive it.
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
