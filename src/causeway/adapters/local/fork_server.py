"""The program that forks every process of the local engine. Standard library only.

Why a process of its own, and not a fork of the agent: the agent has threads, memory and secrets
that a child must not inherit; a small single-threaded process forks in half a millisecond; and the
kernel's parent-death signal fires when the forking *thread* ends, so the forker must be a thread
that lives as long as the agent. Here that is the only thread there is.

Nothing outlives the agent. The agent holds the other end of one socket. When it closes, however
the agent died, this process kills all its descendants (it is their subreaper, so orphans stay in
its tree) and ends. If this process is killed instead, the kernel kills its direct children.

Its arguments are the socket's number, the modules to import first (`a,b` or nothing), and what of
the system its children must not read. With modules its children are warm, and become a Python
program without an exec. It holds no threads and no secrets, and never touches a device.

Messages are JSON behind a four-byte length. In: `spawn`, `signal`. Out: `ready`, `spawned`,
`refused`, `exit`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LAST_WORDS_S = 5.0
BOX_S = 0.1
"""How long the killed processes of a sandbox may take to be gone."""
_HEAD = struct.Struct("!I")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Become(BaseException):
    """Raised in a forked child to leave the server's loop and run `program`."""

    def __init__(self, program: dict[str, Any], env: dict[str, str]) -> None:
        super().__init__()
        self.program = program
        self.env = env


def pack(message: dict[str, Any]) -> bytes:
    """Return one message as it goes over the wire."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _HEAD.pack(len(body)) + body


def unpack(buffer: bytearray) -> Iterator[dict[str, Any]]:
    """Take every whole message off the front of the buffer."""
    while len(buffer) >= _HEAD.size:
        (size,) = _HEAD.unpack_from(buffer)
        if len(buffer) < _HEAD.size + size:
            return
        body = bytes(buffer[_HEAD.size : _HEAD.size + size])
        del buffer[: _HEAD.size + size]
        yield json.loads(body)


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process; none when it is gone."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - pathlib is not imported here
    except OSError:
        return found
    for task in tasks:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
            found.extend(int(child) for child in file.read().split())
    return found


def tree(pid: int) -> list[tuple[int, int]]:
    """Return (depth, pid) of a process and all its descendants, parents first."""
    found = [(0, pid)]
    for depth, parent in found:
        found.extend((depth + 1, child) for child in children_of(parent))
    return found


def send_signal(pid: int, number: int) -> None:
    """Signal one process; one that has just ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, and end if it already has."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def sealed(order: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return bubblewrap's command with the job's environment in a sealed file, and an empty one.

    Bubblewrap itself runs outside the sandbox. A job's `LD_PRELOAD` in its environment would load
    the job's code there, and a command line would show secrets to everybody on the host.
    """
    words = [word for name, value in order["env"].items() for word in ("--setenv", name, value)]
    file = os.memfd_create("environment", 0)
    with open(os.dup(file), "wb") as sealed_:  # noqa: PTH123
        sealed_.write(b"".join(word.encode() + b"\0" for word in words))
    os.lseek(file, 0, os.SEEK_SET)
    return [order["argv"][0], "--args", str(file), *order["argv"][1:]], {}


def hear_all_signals() -> None:
    """Undo what a shell or `nohup` had the agent ignore: jobs would inherit it."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            begun = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, begun)


class Server:
    """One loop over one socket: spawn, signal, reap."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.inbox = bytearray()
        self.ids: dict[int, int] = {}
        """Process -> the engine's number for it."""
        self.marks: dict[int, list[str]] = {}
        self.boxes: set[int] = set()
        """Processes whose sandbox nothing else counts."""
        self.wake_read, self.wake_write = os.pipe()
        self.oops_read, self.oops_write = os.pipe()
        for end in (self.wake_read, self.wake_write, self.oops_read):
            os.set_blocking(end, False)
        hear_all_signals()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Run until the agent is gone. Leaves by `Become` in a forked child."""
        poller = select.poll()
        for end in (self.link.fileno(), self.wake_read, self.oops_read):
            poller.register(end, select.POLLIN)
        while True:
            ready = {end for end, _ in poller.poll()}
            if self.wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake_read, 4096)
            # What a child wrote before it died must be told before its end.
            self.tell_oops()
            self.reap()
            if self.link.fileno() in ready and not self.read():
                return

    def read(self) -> bool:
        """Handle what the agent sent; False when it is gone."""
        try:
            data = self.link.recv(1 << 20)
        except ConnectionResetError:
            return False
        self.inbox += data
        for message in unpack(self.inbox):
            if message["op"] == "spawn":
                self.spawn(message)
            else:
                self.signal(message)
        return bool(data)

    def send(self, message: dict[str, Any]) -> None:
        """Tell the agent; a lost agent is noticed by the next read."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.link.sendall(pack(message))

    def spawn(self, order: dict[str, Any]) -> None:
        """Fork one child with its logs open; what can fail here is told as `refused`."""
        files: list[int] = []
        try:
            files.append(os.open("/dev/null", os.O_RDONLY))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            files.append(os.open(order["stdout"], flags, 0o640))
            files.append(os.open(order["stderr"], flags, 0o640))
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                self.child(order, files, parent)
        except OSError as error:
            self.send({"event": "refused", "id": order["id"], "error": str(error)})
            return
        finally:
            for file in files:
                os.close(file)
        self.ids[pid] = order["id"]
        if order["marks"]:
            self.marks[pid] = order["marks"]
        if order["seal"] and not order["join"]:
            self.boxes.add(pid)
        self.send({"event": "spawned", "id": order["id"], "pid": pid})

    def child(self, order: dict[str, Any], files: list[int], parent: int) -> NoReturn:
        """Turn the forked child into the job's process. Never returns."""
        try:
            die_with(parent)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            os.umask(0o022)
            for place, file in enumerate(files):
                os.dup2(file, place)
            for path in order["join"]:
                group = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                os.write(group, b"0")
                os.close(group)
            for name, most in order["limits"].items():
                kind = getattr(resource, f"RLIMIT_{name}")
                hard = resource.getrlimit(kind)[1]
                most = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.setrlimit(kind, (most, most))
            os.chdir(order["cwd"])
            argv, env = sealed(order) if order["seal"] else (order["argv"], order["env"])
            if order["program"] is None and order["terminal"] is None:
                os.execve(argv[0], argv, env)
            for end in (self.link.fileno(), self.wake_read, self.wake_write, self.oops_read):
                os.close(end)
            if order["terminal"] is not None:
                place = order["terminal"]
                beside("terminal").keep(place, argv, env=env, die_with=die_with)
            if order["view"] is not None:
                beside("namespaces").enter(order["view"])
        except BaseException as error:
            where = getattr(error, "filename", None) or ""
            said = {"id": order["id"], "error": f"{type(error).__name__}: {error} {where}".strip()}
            os.write(self.oops_write, pack(said)[:4096])
            os._exit(125)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            # As a fresh interpreter has them: a connection that was closed raises, and kills not.
            signal.signal(number, signal.SIG_IGN)
        os.close(self.oops_write)
        raise Become(order["program"], order["env"])

    def tell_oops(self) -> None:
        """Pass on why children could not become what was asked."""
        with contextlib.suppress(BlockingIOError):
            for said in unpack(bytearray(os.read(self.oops_read, 1 << 16))):
                self.send({"event": "refused", **said})

    def signal(self, order: dict[str, Any]) -> None:
        """Signal a child's whole tree. `skip` spares the sandbox's own two processes, which would
        take the job down with them before it could save anything."""
        for pid, number in self.ids.items():
            if number == order["id"]:
                family = tree(pid)
                spared = order["skip"] if family[-1][0] >= order["skip"] else 0
                for depth, member in family:
                    if depth >= spared:
                        send_signal(member, order["signal"])
                return

    def reap(self) -> None:
        """Collect every child that has ended, and kill what it left behind in its group."""
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if seen is None:
                return
            pid = seen.si_pid
            number = self.ids.pop(pid, None)
            if number is not None:
                # The group is killed while the leader is still a zombie: its number cannot have
                # been given to somebody else yet.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            if number is None:
                continue
            self.kill_orphans(self.marks.pop(pid, []))
            cpu_ms = _cpu_ms(usage) + self.box_cpu_ms(pid)
            code = os.waitstatus_to_exitcode(status)
            self.send({"event": "exit", "id": number, "code": code, "cpu_ms": cpu_ms})

    def box_cpu_ms(self, monitor: int) -> int:
        """Return the CPU time inside a sandbox. Its monitor ends without waiting for what is
        inside, so the kernel has not added that to the monitor's own; it is our child by now."""
        if monitor not in self.boxes:
            return 0
        self.boxes.remove(monitor)
        spent_ms, until = 0, time.monotonic() + BOX_S
        for pid in children_of(os.getpid()):
            while pid not in self.ids and _session(pid) == monitor and time.monotonic() < until:
                ended, _, usage = os.wait4(pid, os.WNOHANG)
                spent_ms += _cpu_ms(usage) if ended else 0
                time.sleep(0 if ended else 0.001)
        return spent_ms

    def kill_orphans(self, marks: list[str]) -> None:
        """Kill reparented processes whose environment carries the marks of the one that ended."""
        for pid in children_of(os.getpid()) if marks else ():
            if pid in self.ids:
                continue
            with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                held = set(file.read().decode(errors="replace").split("\0"))
                if held.issuperset(marks):
                    for _, member in tree(pid):
                        send_signal(member, signal.SIGKILL)


def _cpu_ms(usage: resource.struct_rusage) -> int:
    return int((usage.ru_utime + usage.ru_stime) * 1000)


def _session(pid: int) -> int:
    """Return the session of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return int(file.read().rpartition(")")[2].split()[3])
    except OSError:
        return 0


def beside(name: str) -> Any:
    """Return a module that lies beside this program, which is not in a package."""
    if name not in sys.modules:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        importlib.import_module(name)
        sys.path.pop(0)
    return sys.modules[name]


def kill_descendants() -> None:
    """Kill all that is below this process until nothing is; gives up after `LAST_WORDS_S`."""
    until = time.monotonic() + LAST_WORDS_S
    while time.monotonic() < until:
        for _, pid in tree(os.getpid())[1:]:
            send_signal(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def run_program(program: dict[str, Any], env: dict[str, str]) -> None:
    """Run a script or a module as `python` would, in this already warm process."""
    os.environ.clear()
    os.environ.update(env)
    if env.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    sys.path[:0] = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(max(1, int(env.get("OMP_NUM_THREADS") or program["threads"])))
    sys.argv = list(program["argv"])
    main_module = sys.modules["__main__"] = types.ModuleType("__main__")
    if program["module"]:
        import runpy

        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        # What `python -m` itself calls: argv[0] and errors are then as people know them.
        runpy._run_module_as_main(program["module"])  # type: ignore[attr-defined]
        return
    path = os.path.abspath(program["script"])  # noqa: PTH100
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120
    with open(path, "rb") as file:  # noqa: PTH123
        code = compile(file.read(), path, "exec", dont_inherit=True)
    main_module.__file__ = path
    main_module.__dict__["__builtins__"] = __builtins__
    exec(code, main_module.__dict__)


def main(argv: list[str]) -> Become | None:
    """Serve on the socket whose number comes first; in a warm child, return what to run."""
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    link = socket.socket(fileno=int(argv[1]))
    os.set_inheritable(link.fileno(), False)
    modules = argv[2].split(",") if argv[2] else []
    if argv[3:]:
        beside("namespaces").close_off(argv[3:])
    views = False
    if modules:
        # Imports take seconds in which the socket is not watched; the kernel watches meanwhile.
        die_with(os.getppid())
        sys.path.pop(0)
        for name in modules:
            importlib.import_module(name)
        views = beside("namespaces").works()
        _LIBC.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
    server = Server(link)
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    server.send({"event": "ready", "threads": threads, "views": views})
    gc.collect()
    gc.freeze()
    try:
        server.serve()
    except Become as become:
        return become
    kill_descendants()
    # An orderly end would spend half a second on taking torch apart.
    os._exit(0)


def run_and_end(become: Become) -> NoReturn:
    """Run a program and end as `python` would, but for taking the warm image apart.

    An interpreter's end frees every object there is, which for an image of 300 MB costs more than
    many a job. Here only what the program itself made is let go, so that its files are flushed and
    its destructors run; the kernel takes the rest back.
    """
    warm = set(sys.modules)
    code = 0
    try:
        run_program(become.program, become.env)
    except SystemExit as end:
        code = exit_code_of(end)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the program's own threads
    atexit._run_exitfuncs()
    for name in ["__main__", *(name for name in list(sys.modules) if name not in warm)]:
        held = getattr(sys.modules.get(name), "__dict__", None)
        if held is not None:
            held.clear()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def exit_code_of(end: SystemExit) -> int:
    """Return the exit code of a `sys.exit` as an interpreter would: a text is printed."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    become_ = main(sys.argv)
    if become_ is not None:
        run_and_end(become_)
