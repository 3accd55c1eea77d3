"""A disk that loses power: a server of the NBD protocol, for QEMU, whose write cache is volatile.

A write is answered at once and is safe only after a flush that came later. A cut of power keeps any
subset of the others, block by block, as a disk does that writes its cache in an order of its own. A cut may
also tear blocks: it keeps any subset of their sectors. The server keeps every write since the disk was
plugged in, so that it can show the disk as a cut would have left it at any earlier moment.

Beside the disks it serves `marks`: what the guest writes there, one line a sector, is a note of what a
program has been promised, ordered with the writes of all disks. And `expected`, which shows the notes.
"""

import dataclasses
import os
import random
import socket
import struct
import subprocess
import threading

# What a file system writes at once, and what QEMU reports as a physical sector. Disks are allowed to tear it.
BLOCK = 4096
# No disk tears a smaller unit.
SECTOR = 512
MARKS_SIZE = 128 << 20

GREETING = b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 1)
OPTION_REPLY = 0x3E889045565A9
GO, ABORT = 7, 2
ACK, INFO, UNSUPPORTED = 1, 3, (1 << 31) + 1
HAS_FLAGS, READ_ONLY, SEND_FLUSH = 1, 2, 4
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
REQUEST, REPLY = 0x25609513, 0x67446698


@dataclasses.dataclass
class Event:
    """A write, or a flush if there is no data. `moment` counts the events of all disks and the marks."""

    moment: int
    offset: int = 0
    data: bytes = b""


class Clock:
    """Orders the events of all disks and the marks."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = 0

    def tick(self):
        self.now += 1
        return self.now


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


def parts(event, unit):
    """The parts of a write to a disk that writes so many bytes at once."""
    at = 0
    while at < len(event.data):
        end = min(len(event.data), at + unit - (event.offset + at) % unit)
        yield event.offset + at, event.data[at:end]
        at = end


class Disk:
    """One disk: `base` is what was on it when it was plugged in, `image` what its cache shows."""

    flags = HAS_FLAGS | SEND_FLUSH

    def __init__(self, clock, path, size):
        self.clock, self.size = clock, size
        self.image, self.base = path, path.with_suffix(".base")
        with open(path, "wb") as file:
            file.truncate(size)
        self.events = []
        self.file = None

    def plug_in(self):
        copy_sparse(self.image, self.base)
        self.file = open(self.image, "r+b", buffering=0)
        self.events = []

    def read(self, offset, length):
        return os.pread(self.file.fileno(), length, offset)

    def write(self, offset, data):
        with self.clock.lock:
            os.pwrite(self.file.fileno(), data, offset)
            self.events.append(Event(self.clock.tick(), offset, data))

    def flush(self):
        with self.clock.lock:
            self.events.append(Event(self.clock.tick()))

    def cut(self, events, path, unit):
        """Makes `path`, which has what was flushed, what a cut after `events` leaves: any part of the rest.
        Returns whether a block was torn."""
        # Now and then everything is lost, or nothing.
        kept = random.choice([0, 0.1, 0.5, 0.5, 0.9, 1])
        fates = {}
        with open(path, "r+b", buffering=0) as file:
            for event in events:
                for offset, data in parts(event, unit):
                    is_kept = random.random() < kept
                    fates.setdefault((event.moment, offset // BLOCK), set()).add(is_kept)
                    if is_kept:
                        os.pwrite(file.fileno(), data, offset)
        return any(len(kinds) > 1 for kinds in fates.values())

    def cuts(self, moments, units=(BLOCK,)):
        """The disk as a cut at each of the moments leaves it, one after another: the moment, whether a block was
        torn, and the image. The disk writes one of `units` at once."""
        safe = self.image.with_suffix(".safe")
        copy_sparse(self.base, safe)
        rest, volatile = iter(self.events), []
        event = next(rest, None)
        with open(safe, "r+b", buffering=0) as file:
            for moment in sorted(moments):
                while event and event.moment <= moment:
                    volatile.append(event)
                    if not event.data:
                        for flushed in volatile:
                            os.pwrite(file.fileno(), flushed.data, flushed.offset)
                        volatile = []
                    event = next(rest, None)
                # Each has a name of its own: a loop device outlives its unmount for a moment, and the next
                # mount of the name would get it, with what it has cached.
                image = self.image.with_suffix(f".{moment}")
                copy_sparse(safe, image)
                is_torn = self.cut(volatile, image, random.choice(units))
                yield moment, is_torn, image
                image.unlink(missing_ok=True)
        safe.unlink()

    def lose_power(self):
        """Cuts the power now."""
        self.file.close()
        for _, _, image in self.cuts([self.clock.now]):
            image.replace(self.image)


class Marks:
    """Notes of the guest, in the order of its writes; a sector holds one line."""

    flags, size = HAS_FLAGS, MARKS_SIZE

    def __init__(self, clock):
        self.clock = clock
        self.notes = []

    def read(self, _, length):
        return bytes(length)

    def write(self, _, data):
        with self.clock.lock:
            for at in range(0, len(data), SECTOR):
                note = data[at : at + SECTOR].rstrip(b"\0").decode().strip()
                self.notes.append((self.clock.tick(), note))

    def flush(self):
        pass

    def until(self, moment):
        """The notes of that moment and before, a line each."""
        return "".join(f"{note}\n" for at, note in self.notes if at <= moment)


class Expected:
    """Shows the guest the notes as they were when it was started."""

    flags = HAS_FLAGS | READ_ONLY

    def __init__(self):
        self.text = b""

    @property
    def size(self):
        return len(self.text) // BLOCK * BLOCK + BLOCK

    def read(self, offset, length):
        return self.text[offset : offset + length].ljust(length, b"\0")


class Server:
    """Serves the exports at a socket, each connection in a thread."""

    def __init__(self, path, exports):
        self.exports = exports
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            thread = threading.Thread(target=self.serve, args=(connection,), daemon=True)
            self.connections.append(thread)
            thread.start()

    def drain(self):
        """Waits until all clients are gone, and what they sent is in the disks."""
        for thread in self.connections:
            thread.join()
        self.connections = []

    def serve(self, connection):
        with connection, connection.makefile("rb") as incoming:
            try:
                if export := self.negotiate(connection, incoming):
                    self.transmit(connection, incoming, export)
            except (ConnectionError, EOFError):
                # The guest was killed.
                pass

    def negotiate(self, connection, incoming):
        """The export that the client chooses."""
        connection.sendall(GREETING)
        take(incoming, 4)
        while True:
            _, option, length = struct.unpack(">8sII", take(incoming, 16))
            data = take(incoming, length)

            def answer(kind, body=b""):
                connection.sendall(struct.pack(">QIII", OPTION_REPLY, option, kind, len(body)) + body)

            if option == ABORT:
                answer(ACK)
                return None
            if option != GO:
                answer(UNSUPPORTED)
                continue
            (size,) = struct.unpack_from(">I", data)
            export = self.exports[data[4 : 4 + size].decode()]
            answer(INFO, struct.pack(">HQH", 0, export.size, export.flags))
            answer(ACK)
            return export

    def transmit(self, connection, incoming, export):
        while True:
            magic, _, kind, handle, offset, length = struct.unpack(">IHHQQI", take(incoming, 28))
            assert magic == REQUEST, "the client lost its place in the stream"
            data = b""
            if kind == READ:
                data = export.read(offset, length)
            elif kind == WRITE:
                export.write(offset, take(incoming, length))
            elif kind == FLUSH:
                export.flush()
            else:
                assert kind == DISCONNECT, f"a command that was not offered: {kind}"
                return
            connection.sendall(struct.pack(">IIQ", REPLY, 0, handle) + data)


def take(incoming, length):
    data = incoming.read(length)
    if len(data) < length:
        raise EOFError
    return data
