"""The runner: what really runs one rank of an attempt on a node of somebody's engine.

It stands alone. An engine copies this one file to where its nodes see it and has every node run

    python3 -I -S program.py <attempt folder>/runner [rank]

so it may use nothing but the standard library of Python 3.6 and newer, and what the agent wrote
into that folder (`desk.py` is the other side of every file here):

    plan.json        what to run; the same for all ranks
    rank-<n>.env     the rank's whole environment, secrets included (0600). Whoever unlinks it owns
                     the rank: the runner before it starts, or the agent to call it off. So however
                     often an engine begins a job, its program begins once.
    rank-<n>.beat    `number age_ms cpu_ms memory_bytes crc`, written in place by the runner
    rank-<n>.grant   `number for_ms stop_ms crc`, written in place by the agent
    rank-<n>.record  what happened, one JSON object per line, appended; an end is flushed

**The lease.** A runner that is guarded lives only as long as the agent lets it. It writes beat
number n at its own monotonic instant t(n). The agent reads that beat at an instant r of its own
clock, with the lease good until D, and answers with n and D - r. The runner may then live until
t(n) + (D - r). As t(n) <= r in real time, it ends no later than D, and nobody compared clocks.
Nothing is started before the first grant: an engine may begin a job an hour after its agent died.

Beats and grants are overwritten in place, never renamed: on a network file system a reader that
opens a file sees its newest content, but may see the names in a folder late. A checksum tells a
line that was read while it was written. A thread of its own does this reading and writing, because
a file server that hangs must not keep the main thread from ending the program in time.

The main thread waits for the program, its time limit, the end of the lease, a stop, and signals.
Whatever the program leaves behind is killed with it: orphans become children of the runner.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from typing import Any, Callable, Dict, List, Optional, Tuple

TURN_S = 0.25
"""How often grants are looked for while the program runs: one small read of a file."""
EAGER_S = 0.005
EAGER_TURNS = 400
"""How often, and for how many turns, while it waits to be let start."""
BEAT_S = 1.0
BEATS_PER_GRANT = 4
BEAT_S_MIN = 0.25
BEAT_S_MAX = 10.0
BEATS_KEPT = 64
SAMPLE_S = 2.0
GONE_S = 5.0
SAME_SIGNAL_S = 0.1
LIMIT_GRACE_S = 5.0
TRAP = "trap 'exit 143' TERM; "
"""Bash then outlives the program that it waits for, so that a stop leaves it its grace."""
USED_UP = 79
"""Exit code of a runner that finds its rank taken: it was started once, or called off."""
ENDED_EARLY = 80
"""Exit code of a runner whose program never started."""
LINE_BYTES = 96
SCRIPT_BYTES_MAX = 100 * 1024
"""The kernel takes no single argument of 128 KiB or more."""


def seal(*numbers: int) -> bytes:
    """Return numbers as one line of fixed length with their checksum."""
    text = " ".join(str(number) for number in numbers)
    line = "%s %08x" % (text, zlib.crc32(text.encode()) & 0xFFFFFFFF)
    return line.ljust(LINE_BYTES - 1).encode() + b"\n"


def unseal(line: bytes) -> Optional[List[int]]:
    """Return the numbers of a line; None while it is empty or half written."""
    text, _, checksum = line.decode("ascii", "replace").strip().rpartition(" ")
    if not text or checksum != "%08x" % (zlib.crc32(text.encode()) & 0xFFFFFFFF):
        return None
    return [int(number) for number in text.split(" ")]


class Rank:
    """One rank's files."""

    def __init__(self, folder: str, rank: int) -> None:
        self.folder = folder
        self.rank = rank
        self.record = os.open(self.path("record"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.beat = os.open(self.path("beat"), os.O_WRONLY | os.O_CREAT, 0o600)

    def path(self, kind: str, rank: Optional[int] = None) -> str:
        return os.path.join(self.folder, "rank-%d.%s" % (self.rank if rank is None else rank, kind))

    def note(self, event: str, **more: Any) -> None:
        """Write down what happened; an end so that it survives a power cut. What comes before it
        is on the way to the program's first line, where every flush would be waited for."""
        line = json.dumps(dict(more, event=event, at_ms=int(time.time() * 1000)))
        os.write(self.record, line.encode() + b"\n")
        if event in ("ended", "refused"):
            os.fsync(self.record)

    def claim(self) -> Optional[Dict[str, str]]:
        """Take the environment; None when somebody was first."""
        path = self.path("env")
        try:
            with open(path) as file:
                env: Dict[str, str] = json.load(file)
            os.unlink(path)
        except OSError:
            return None
        return env

    def grant(self) -> Optional[List[int]]:
        try:
            with open(self.path("grant"), "rb") as file:
                return unseal(file.read(LINE_BYTES))
        except OSError:
            return None

    def meeting(self) -> Optional[Dict[str, Any]]:
        """Return where rank 0 says that the ranks meet, once its set-up is over."""
        try:
            with open(self.path("record", 0), "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return None
        for line in lines:
            said: Dict[str, Any] = json.loads(line.decode())
            if said["event"] == "meeting":
                return said
        return None


class Guard:
    """Beats and grants, in a thread of their own."""

    def __init__(self, rank: Rank, guarded: bool, wake: Callable[[], None]) -> None:
        self.rank = rank
        self.guarded = guarded
        self.wake = wake
        self.until: Optional[float] = None
        """When the lease ends, of this monotonic clock; None before the first grant."""
        self.stop_ms = -1
        """Grace of the stop that was asked for; -1: none was."""
        self.stop_at = 0.0
        """When that grace is over."""
        self.started = 0.0
        self.cpu_ms = 0
        self.memory_bytes = 0
        self.eager = True
        self._sent: Dict[int, float] = {}
        self._number = 0
        self._last = -BEAT_S
        """When the last beat was written."""
        self._period = BEAT_S

    def run(self) -> None:
        turns = 0
        while True:
            turns += 1
            if time.monotonic() >= self._last + self._period:
                self._beat()
            self._read()
            time.sleep(EAGER_S if self.eager and turns < EAGER_TURNS else TURN_S)

    def _beat(self) -> None:
        self._number += 1
        now = self._last = time.monotonic()
        self._sent[self._number] = now
        self._sent.pop(self._number - BEATS_KEPT, None)
        age_ms = int((now - self.started) * 1000) if self.started else 0
        line = seal(self._number, age_ms, self.cpu_ms, self.memory_bytes)
        try:
            os.pwrite(self.rank.beat, line, 0)
        except OSError:
            # A full or missing disk: no beat, no grant, and the lease ends as it must.
            pass

    def _read(self) -> None:
        said = self.rank.grant()
        if said is None:
            return
        number, for_ms, stop_ms = said
        news = False
        sent = self._sent.get(number)
        if sent is not None and for_ms > 0:
            until = sent + for_ms / 1000.0
            news = self.until is None
            self.until = until if self.until is None else max(self.until, until)
            quarter = for_ms / 1000.0 / BEATS_PER_GRANT
            self._period = min(BEAT_S_MAX, max(BEAT_S_MIN, quarter))
        if stop_ms >= 0 and (self.stop_ms < 0 or stop_ms < self.stop_ms):
            self.stop_at = time.monotonic() + stop_ms / 1000.0
            self.stop_ms, news = stop_ms, True
        if news:
            self.wake()


class Runner:
    """One rank, from its first grant to the last process that it left."""

    def __init__(self, rank: Rank, plan: Dict[str, Any], env: Dict[str, str]) -> None:
        self.rank = rank
        self.plan = plan
        self.env = env
        self.reading, self.writing = os.pipe()
        for end in (self.reading, self.writing):
            os.set_blocking(end, False)
        self.guard = Guard(rank, bool(plan["guard"]), self.wake)
        self.signalled = False
        self.terminated = False
        self.why = ""
        """What ended it, where it was not its own program."""
        self.kill_at: Optional[float] = None
        self.limit_at: Optional[float] = None
        self.sampled = 0.0
        self.memory_most = 0

    def wake(self) -> None:
        try:
            os.write(self.writing, b"x")
        except OSError:
            # The pipe is full of wake-ups that were not read yet: one is enough.
            pass

    def pause(self, seconds: float) -> None:
        """Sleep until something happens, at most so long."""
        if select.select([self.reading], [], [], max(0.0, seconds))[0]:
            os.read(self.reading, 4096)

    def listen(self) -> None:
        signal.set_wakeup_fd(self.writing)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._told)
        signal.signal(signal.SIGINT, self._told)
        # A handler, not SIG_IGN: what is ignored here would be ignored in the program too.
        signal.signal(signal.SIGHUP, lambda number, frame: None)

    def _told(self, number: int, frame: Any) -> None:
        self.signalled = True

    def go(self) -> int:
        self.listen()
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        thread = threading.Thread(target=self.guard.run)
        thread.daemon = True
        thread.start()
        self.rank.note("waiting", host=socket.gethostname(), pid=os.getpid())
        if not self._allowed():
            self.rank.note("ended", end=self.why, code=None, ran_ms=0, cpu_ms=0)
            return ENDED_EARLY
        try:
            return self._scripts()
        except OSError as error:
            self.why = "start"
            self.rank.note("refused", message=str(error))
            return self._end(ENDED_EARLY, "run")

    def _scripts(self) -> int:
        """Run the set-up, where it is this rank's to run, and the program."""
        code = 0
        if self.rank.rank == 0:
            if self.plan["setup"]:
                self._start_clock()
                code = self._run("setup", self.plan["setup"], self.env)
            if code == 0 and not self.why:
                self.rank.note("meeting", address=self._address(), port=_free_port())
        if code == 0 and not self.why:
            env = self._rank_env()
            if env is not None:
                self._start_clock()
                code = self._run("rank-%d" % self.rank.rank, self.plan["run"], env)
        return self._end(code, "setup" if self.rank.meeting() is None else "run")

    def _allowed(self) -> bool:
        """Wait for the first grant, or for a reason not to begin."""
        patience = time.monotonic() + self.plan["patience_ms"] / 1000.0
        while True:
            if self.guard.stop_ms >= 0 or self.signalled:
                self.why = "stop" if self.guard.stop_ms >= 0 else "signal"
            elif not self.guard.guarded:
                return True
            elif self.guard.until is not None:
                if time.monotonic() < self.guard.until:
                    return True
                self.why = "lease"
            elif time.monotonic() >= patience:
                self.why = "lease"
            if self.why:
                return False
            self.pause(TURN_S)

    def _start_clock(self) -> None:
        if not self.guard.started:
            self.guard.started = time.monotonic()
            if self.plan["time_limit_ms"]:
                self.limit_at = self.guard.started + self.plan["time_limit_ms"] / 1000.0
            self.rank.note("started")

    def _rank_env(self) -> Optional[Dict[str, str]]:
        """Return the environment of the program; None when there is to be none."""
        said = self.rank.meeting()
        while said is None:
            if self._overdue():
                return None
            self.pause(TURN_S)
            said = self.rank.meeting()
        self.guard.eager = False
        env = dict(self.env)
        env["MASTER_ADDR"], env["MASTER_PORT"] = said["address"], str(said["port"])
        return env

    def _address(self) -> str:
        """Return a name of this node that it can be reached under, as far as the node knows."""
        if self.plan["ranks"] == 1:
            return "127.0.0.1"
        names = [os.environ.get(name, "") for name in self.plan["address_env"]]
        for name in [*names, socket.gethostname()]:
            try:
                if name and socket.getaddrinfo(name, None):
                    return name
            except OSError:
                continue
        return "127.0.0.1"

    # -- one program ----------------------------------------------------------------------------

    def _run(self, name: str, script: str, env: Dict[str, str]) -> int:
        """Run one script to its end and return its code, in the shell's convention."""
        logs = os.path.join(self.plan["folder"], "logs")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        out = os.open(os.path.join(logs, name + ".stdout"), flags, 0o644)
        err = os.open(os.path.join(logs, name + ".stderr"), flags, 0o644)
        libc, runner = ctypes.CDLL(None), os.getpid()

        def bind() -> None:
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            if os.getppid() != runner:
                # It died before the line above, so nobody will be told.
                os._exit(1)

        child = subprocess.Popen(
            self._argv(name, TRAP + script),
            cwd=os.path.join(self.plan["folder"], "work"),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=bind,
        )
        os.close(out)
        os.close(err)
        if name == "setup":
            self.rank.note("setup", pid=child.pid)
        else:
            self.rank.note("running", pid=child.pid)
        self.guard.eager = False
        status: Optional[int] = None
        while status is None:
            status = self._look(child.pid)
        self._sweep()
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if code == 128 + signal.SIGTERM and not self.why and not self.signalled:
            # An engine that signals every process may have reached the program first.
            time.sleep(SAME_SIGNAL_S)
        if self.signalled and not self.why:
            self.why = "signal"
        child.returncode = code
        return code

    def _argv(self, name: str, script: str) -> List[str]:
        """Return the command for a script; a long one goes through a file."""
        bash = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        if len(script.encode()) < SCRIPT_BYTES_MAX:
            return [bash, "-c", script]
        path = os.path.join(self.rank.folder, name + ".sh")
        with open(path, "w") as file:
            file.write(script)
        return [bash, path]

    def _look(self, pid: int) -> Optional[int]:
        """Wait a moment; return the status of the program once it has ended."""
        status = reap(pid)
        if status is not None:
            return status
        now = time.monotonic()
        if self._overdue():
            self._stop(now)
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            kill(signal.SIGKILL)
        if now - self.sampled >= SAMPLE_S:
            self.sampled = now
            self._sample()
        due = [now + SAMPLE_S]
        due += [at for at in (self.kill_at, self.limit_at) if at is not None and at > now]
        if self.guard.guarded and self.guard.until is not None and self.guard.until > now:
            due.append(self.guard.until)
        self.pause(min(due) - now if self.kill_at is None or now < self.kill_at else 0.02)
        return None

    def _overdue(self) -> bool:
        """Say whether it has to end, and remember why; the first cause stays, but a lease that is
        over ends it at once whatever came before."""
        now, guard = time.monotonic(), self.guard
        if guard.guarded and (guard.until is None or now >= guard.until):
            self.why = self.why or "lease"
            self.kill_at = now if guard.until is None else min(now, guard.until)
        elif not self.why and guard.stop_ms >= 0:
            self.why = "stop"
        elif not self.why and self.limit_at is not None and now >= self.limit_at:
            self.why = "limit"
        elif not self.why and self.signalled:
            self.why = "signal"
        return bool(self.why)

    def _stop(self, now: float) -> None:
        """Pass a stop on to the program: once with a grace, or at once."""
        if self.why == "lease":
            return
        if self.why == "signal":
            # Some engines signal every process themselves, and kill what is left after their own
            # grace; a second SIGTERM might cut a program's saving short.
            if self.plan["forward"] and not self.terminated:
                kill(signal.SIGTERM)
            self.terminated = True
            if self.guard.stop_ms < 0:
                return
        guard = self.guard
        if self.kill_at is None:
            self.kill_at = guard.stop_at if guard.stop_ms >= 0 else now + LIMIT_GRACE_S
            if not self.terminated and self.kill_at > now:
                kill(signal.SIGTERM)
        elif guard.stop_ms >= 0:
            self.kill_at = min(self.kill_at, guard.stop_at)
        self.terminated = True

    def _sample(self) -> None:
        pages = os.sysconf("SC_PAGE_SIZE")
        ticks = os.sysconf("SC_CLK_TCK")
        cpu, memory = own_cpu_ms(), 0
        for fields in descendants():
            cpu += (int(fields[11]) + int(fields[12])) * 1000 // ticks
            memory += int(fields[21]) * pages
        self.guard.cpu_ms = max(self.guard.cpu_ms, cpu)
        self.guard.memory_bytes = memory
        self.memory_most = max(self.memory_most, memory)

    def _sweep(self) -> None:
        """Kill whatever is left of the program, and wait until it is gone."""
        give_up = time.monotonic() + GONE_S
        while time.monotonic() < give_up:
            left = kill(signal.SIGKILL)
            reap(0)
            if not left:
                return
            time.sleep(0.005)

    def _end(self, code: int, part: str) -> int:
        ran_ms = int((time.monotonic() - self.guard.started) * 1000) if self.guard.started else 0
        self.rank.note(
            "ended",
            end=self.why or "exit",
            part=part,
            code=code,
            ran_ms=ran_ms,
            cpu_ms=own_cpu_ms(),
            memory_bytes=self.memory_most,
        )
        return min(code, 255) if code else (0 if not self.why else ENDED_EARLY)


def reap(pid: int) -> Optional[int]:
    """Take the status of every child that has ended; return the one that was asked for."""
    found: Optional[int] = None
    while True:
        try:
            gone, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if gone == 0:
            return found
        if gone == pid:
            found = status


def own_cpu_ms() -> int:
    """Return the CPU time of every child that has ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1000)


def descendants() -> List[List[str]]:
    """Return the fields of /proc/<pid>/stat, from the state on, with the pid appended, of every
    process below this one that is not dead."""
    parents: Dict[int, Tuple[int, List[str]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(name)] = (int(fields[1]), [*fields, name])
    me, found = os.getpid(), []
    for pid, (_, fields) in parents.items():
        above = pid
        while above in parents and above != me:
            above = parents[above][0]
        if above == me and pid != me and fields[0] not in "ZX":
            found.append(fields)
    return found


def kill(number: int) -> int:
    """Send a signal to every process below this one; return how many there were."""
    found = descendants()
    for fields in found:
        try:
            os.kill(int(fields[-1]), number)
        except OSError:
            # It has just ended.
            continue
    return len(found)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def main(arguments: List[str]) -> int:
    folder = arguments[0]
    try:
        with open(os.path.join(folder, "plan.json")) as file:
            plan = json.load(file)
    except OSError as error:
        print("causeway-runner: %s sees no plan: %s" % (socket.gethostname(), error))
        return 78
    number = int(arguments[1] if len(arguments) > 1 else os.environ[plan["rank_env"]])
    rank = Rank(folder, number)
    env = rank.claim()
    if env is None:
        rank.note("again", host=socket.gethostname())
        print("causeway-runner: rank %d was started before, or was called off" % number)
        return USED_UP
    for name, value in os.environ.items():
        if name.startswith(tuple(plan["keep"])):
            env.setdefault(name, value)
    return Runner(rank, plan, env).go()


if __name__ == "__main__":
    # Not sys.exit: a thread that hangs on a dead file server would be waited for.
    done = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(done)
