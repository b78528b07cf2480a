"""A wide-area network in user space: delay, rate, loss, queue and cuts between network namespaces.

Kernels without `netem` can still be given a slow link: every site is a network namespace whose only
way out is a TUN device, and this process carries the packets from one device to the next. Each
direction of a pair of sites is a lane of its own: a packet may be lost, waits for the packets
before it at the lane's rate, is dropped where the queue is full, and arrives one delay later. A
lane has one constant delay, so packets never overtake one another, and a plain queue keeps their
order.

Run it as root, or use `Wan` from a bench. TCP's own choices are the kernel's of each namespace:
`congestion` sets the algorithm there, so that a figure says what it was measured with. What the
emulator costs is shown too (`cpu_s`): a figure means nothing when the emulator was the bottleneck.

    python bench/wansim.py a=10.91.1.2 b=10.91.2.2 --delay-ms 50 --rate-mbit 100 --loss 0.001
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

MTU = 1500
"""Bytes of a packet with its headers, as on the internet."""
PREFIX = "10.91"
DEVICE = "wan0"
READS_MAX = 64
"""Packets taken from one device before the others get their turn."""
_SET_INTERFACE, _TUN, _NO_INFO = 0x400454CA, 0x0001, 0x1000
_NETWORK_NAMESPACE = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one direction of a link does to its packets."""

    delay_ms: float = 0.0
    rate_mbit: float = 0.0
    """0: as fast as this process is."""
    loss_share: float = 0.0
    """Of packets, at random and independently."""
    queue_ms: float = 100.0
    """What may wait before the rate; what comes then is dropped, as a router drops it."""
    up: bool = True


@dataclass(slots=True)
class Lane:
    """One direction between two sites."""

    shape: Shape
    out: int
    """The device at the far end."""
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    """(when it arrives, packet)."""
    free_s: float = 0.0
    """When the last packet in the queue has left."""
    carried: int = 0
    carried_bytes: int = 0
    lost: int = 0
    overflowed: int = 0

    def take(self, packet: bytes, now_s: float, chance: random.Random) -> None:
        """Let a packet in, or drop it."""
        shape = self.shape
        if not shape.up or (shape.loss_share and chance.random() < shape.loss_share):
            self.lost += 1
            return
        leaves_s = now_s
        if shape.rate_mbit:
            begins_s = max(now_s, self.free_s)
            if begins_s - now_s > shape.queue_ms / 1000:
                self.overflowed += 1
                return
            leaves_s = begins_s + len(packet) / (shape.rate_mbit * 125_000)
            self.free_s = leaves_s
        self.queue.append((leaves_s + shape.delay_ms / 1000, packet))

    def deliver(self, now_s: float) -> None:
        """Hand over what has arrived by now."""
        queue = self.queue
        while queue and queue[0][0] <= now_s:
            packet = queue.popleft()[1]
            try:
                os.write(self.out, packet)
            except OSError:
                # The far end is gone, or its device is full: what a receiver does not take is lost.
                self.lost += 1
                continue
            self.carried += 1
            self.carried_bytes += len(packet)


class Emulator:
    """Carries packets between the sites until it is told to stop."""

    def __init__(self, sites: Mapping[str, str], devices: Mapping[str, int], shape: Shape) -> None:
        """`sites` maps a namespace to its address, `devices` to its open TUN device."""
        self._chance = random.Random(7)
        self._sites = {_network(address): name for name, address in sites.items()}
        self._devices = devices
        self.lanes = {(a, b): Lane(shape, devices[b]) for a in sites for b in sites if a != b}

    def shape(self, a: str, b: str, shape: Shape) -> None:
        """Give one direction another shape from now on."""
        self.lanes[a, b].shape = shape

    def carry(self, commands: int) -> None:
        """Serve until the descriptor `commands` ends; a line there changes a shape."""
        poll = select.epoll()
        names = {fd: name for name, fd in self._devices.items()}
        for fd in (*names, commands):
            poll.register(fd, select.EPOLLIN)
        lanes = list(self.lanes.values())
        while True:
            due_s = min((lane.queue[0][0] for lane in lanes if lane.queue), default=None)
            wait_s = 1.0 if due_s is None else max(0.0, due_s - time.monotonic())
            for fd, _ in poll.poll(wait_s):
                if fd != commands:
                    self._read(fd, names[fd])
                elif not self._obey(os.read(commands, 65_536)):
                    return
            now_s = time.monotonic()
            for lane in lanes:
                lane.deliver(now_s)

    def _read(self, fd: int, name: str) -> None:
        now_s = time.monotonic()
        for _ in range(READS_MAX):
            try:
                packet = os.read(fd, 65_535)
            except BlockingIOError:
                return
            far = self._sites.get(packet[18]) if packet[0] >> 4 == 4 else None
            if far is not None and far != name:
                self.lanes[name, far].take(packet, now_s, self._chance)

    def _obey(self, said: bytes) -> bool:
        for line in said.splitlines():
            wish = json.loads(line)
            if wish["do"] == "shape":
                self.shape(wish["a"], wish["b"], Shape(**wish["shape"]))
            print(json.dumps(self.counts()), flush=True)
        return bool(said)

    def counts(self) -> dict[str, object]:
        """Return what was carried so far, and at which cost."""
        used = os.times()
        return {
            "cpu_s": used.user + used.system,
            "at_s": time.monotonic(),
            "lanes": {
                f"{a}>{b}": {
                    "packets": lane.carried,
                    "bytes": lane.carried_bytes,
                    "lost": lane.lost,
                    "overflowed": lane.overflowed,
                }
                for (a, b), lane in self.lanes.items()
            },
        }


def _network(address: str) -> int:
    return int(address.split(".")[2])


def in_namespace(name: str, *command: str) -> tuple[str, ...]:
    """Return the command as it runs inside a site."""
    return ("ip", "netns", "exec", name, *command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_site(name: str, address: str, *, congestion: str) -> int:
    """Make a namespace with its TUN device, and return the open device."""
    _run("ip", "netns", "add", name)
    _run(*in_namespace(name, "ip", "link", "set", "lo", "up"))
    device = _open_device(name)
    inside = in_namespace(name, "ip")
    _run(*inside, "addr", "add", f"{address}/24", "dev", DEVICE)
    _run(*inside, "link", "set", DEVICE, "mtu", str(MTU), "txqueuelen", "2000", "up")
    # By the route rather than by sysctl, which may be read-only in a container; it holds for
    # connections made here and for those accepted here.
    far = (f"{PREFIX}.0.0/16", "dev", DEVICE, "congctl", congestion)
    _run(*inside, "route", "add", *far)
    return device


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Be inside a site: this thread, and the threads and processes that it starts meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(there, _NETWORK_NAMESPACE):
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {name}")
        yield
    finally:
        if libc.setns(home, _NETWORK_NAMESPACE):
            raise OSError(ctypes.get_errno(), "cannot come back from the namespace")
        os.close(home)
        os.close(there)


def _open_device(name: str) -> int:
    """Make a TUN device inside the namespace, from outside of it."""
    with entered(name):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        wish = struct.pack("16sH22x", DEVICE.encode(), _TUN | _NO_INFO)
        fcntl.ioctl(device, _SET_INTERFACE, wish)
    return device


@dataclass(slots=True)
class Wan:
    """A running emulator, as a bench or a test sees it."""

    process: subprocess.Popen[bytes]
    sites: Mapping[str, str]

    def shape(self, a: str, b: str, shape: Shape, *, back: bool = True) -> None:
        """Change a link, in both directions unless told otherwise."""
        self._say({"do": "shape", "a": a, "b": b, "shape": asdict(shape)})
        if back:
            self._say({"do": "shape", "a": b, "b": a, "shape": asdict(shape)})

    def counts(self) -> dict[str, object]:
        """Return what the emulator has carried, and its CPU seconds."""
        return self._say({"do": "count"})

    def _say(self, wish: Mapping[str, object]) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(wish).encode() + b"\n")
        self.process.stdin.flush()
        said: dict[str, object] = json.loads(self.process.stdout.readline())
        return said


@contextlib.contextmanager
def wan(sites: Mapping[str, str], shape: Shape, *, congestion: str = "cubic") -> Iterator[Wan]:
    """Yield a network of these sites, each link with the same shape at first. Needs root."""
    command = [sys.executable, str(Path(__file__)), *(f"{n}={a}" for n, a in sites.items())]
    command += ["--shape", json.dumps(asdict(shape)), "--congestion", congestion]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"the emulator ended with {process.wait()}: it needs root and TUN")
        yield Wan(process, dict(sites))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry packets until standard input ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sites", nargs="+", help="namespace=10.91.N.x, each N once")
    options.add_argument("--delay-ms", type=float, default=50.0)
    options.add_argument("--rate-mbit", type=float, default=100.0)
    options.add_argument("--loss", type=float, default=0.0)
    options.add_argument("--shape", type=json.loads, default=None, help=argparse.SUPPRESS)
    options.add_argument("--congestion", default="cubic")
    chosen = options.parse_args(arguments)
    sites = dict(site.split("=", 1) for site in chosen.sites)
    given = {
        "delay_ms": chosen.delay_ms,
        "rate_mbit": chosen.rate_mbit,
        "loss_share": chosen.loss,
    }
    shape = Shape(**(chosen.shape or given))
    devices: dict[str, int] = {}
    # Ended from outside, it still takes its namespaces away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for name, address in sites.items():
            devices[name] = make_site(name, address, congestion=chosen.congestion)
        emulator = Emulator(sites, devices, shape)
        print(json.dumps({"ready": True}), flush=True)
        emulator.carry(sys.stdin.fileno())
    finally:
        for name, device in devices.items():
            os.close(device)
            subprocess.run(("ip", "netns", "delete", name), check=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
