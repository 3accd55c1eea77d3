"""Virtual machines, which software emulation runs, and the network that joins them."""

import datetime
import random
import socket
import subprocess
import time

from witness import Violation

BOOT_SECONDS = 300

# How far the clock of each host is from that of the others, in seconds.
CLOCKS = {"server": 200, "one": 0, "two": -420, "three": 660}


class Machine:
    def __init__(self, name, number, network, witness, place, lease, work):
        self.name, self.witness, self.process = name, witness, None
        self.monitor = f"{work}/{place}-{name}.monitor"
        self.console = f"{work}/{place}-{name}.console"
        disk = f"{work}/{place}-{name}.disk"
        subprocess.run(["truncate", "-s", "64M", disk], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
        [kernel] = work.glob("kernel/boot/vmlinuz-*")
        settings = dict(host=name, place=place, address=f"10.0.0.{number}", lease=lease, control=witness.port)
        words = " ".join(f"{key}={value}" for key, value in settings.items())
        self.command = [
            # It dies with this program, whatever ends that.
            *"setpriv --pdeathsig KILL qemu-system-x86_64 -accel tcg -cpu max -smp 1 -m 640 -display none -no-reboot".split(),
            *("-kernel", str(kernel), "-initrd", f"{work}/initrd"),
            *("-append", f"console=ttyS0 quiet no_timer_check mitigations=off panic=-1 rdinit=/init {words}"),
            *("-serial", f"file:{self.console}", "-monitor", f"unix:{self.monitor},server=on,wait=off"),
            *("-drive", f"file={disk},format=raw,if=virtio"),
            *("-netdev", f"socket,id=hosts,mcast={network},localaddr=127.0.0.1"),
            *("-device", f"virtio-net-pci,netdev=hosts,mac=52:54:00:00:00:{number:02x}"),
            *("-netdev", "user,id=control", "-device", "virtio-net-pci,netdev=control"),
        ]

    def boot(self):
        self.witness.hosts.pop(self.name, None)
        clock = datetime.datetime.fromtimestamp(time.time() + CLOCKS[self.name], datetime.timezone.utc)
        base = clock.strftime("base=%Y-%m-%dT%H:%M:%S")
        self.process = subprocess.Popen([*self.command, "-rtc", base], stdin=subprocess.DEVNULL)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def wait_until_booted(self):
        def has_booted_or_ended():
            return self.name in self.witness.hosts or not self.runs()

        self.witness.wait(f"{self.name} boots", BOOT_SECONDS, has_booted_or_ended)
        if self.name not in self.witness.hosts:
            raise Violation(f"{self.name} did not boot")

    def run(self, command):
        connection, *_ = self.witness.hosts[self.name]
        connection.sendall(f"{command}\n".encode())

    def die(self):
        """SIGKILL: the other hosts get no packet that ends a connection."""
        self.process.kill()
        self.process.wait()

    def set_link(self, state):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(self.monitor)
            monitor.sendall(f"set_link hosts {state}\n".encode())
            answer = b""
            while answer.count(b"(qemu)") < 2:
                answer += monitor.recv(4096)


def network():
    """An address of multicast that no other run on this machine has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"239.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}:{port}"
