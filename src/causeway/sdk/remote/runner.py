"""What a portion runs on its island: each task in turn, each outcome written as soon as it is made.

    python runner.py START STOP BUDGET_S

This file travels with the call. It needs no Causeway and nothing but the standard library, and any
Python from 3.7 can read it, if only to say that it is the wrong one. Beside it lie `call.json`
(what was asked), `call.pkl` (the function), `plain.py` and `lib/cloudpickle`; the inputs are in
`../tasks/START-STOP`. The function and its inputs are the user's own code and data: they are
unpickled here, inside the user's own job, and nowhere else.

Two processes. The child loads the function and runs the tasks. The parent has loaded nothing and
watches: when the child is killed (by a fault in a C extension, by the memory limit, by the time
limit of one task), the parent writes down which task that was, and goes on with the next one in a
new child. After BUDGET_S no further task is begun; what is left over goes back to whoever asked.

The results are a list of frames: index, kind, seconds, size, then as many bytes.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import os
import signal
import struct
import sys
import time
import types
from pathlib import Path
from typing import Any, NamedTuple

FRAME = struct.Struct("!IcdQ")
SIZE = struct.Struct("!Q")
VALUE, PICKLED = b"v", b"p"
"""A result: plain, or pickled where that was asked for."""
ERROR, PICKLED_ERROR = b"e", b"x"
"""What the function raised: its description, or that and itself."""
DIED = b"d"
"""The process ended under the task; the payload says how."""
READY = b"r"
"""The function is loaded: the time of the first task begins."""
MISFIT = b"m"
"""Nothing can run here: another Python, or a function that cannot be loaded."""
RESULTS_BYTES_MAX = 256 * 1024**2
"""After so much no further task is begun in this work."""
TRACEBACK_CHARS_MAX = 32 * 1024
TEXT_CHARS_MAX = 8 * 1024
WATCH_S = 0.05


class Work(NamedTuple):
    """One run of this program."""

    here: Path
    """The folder of the call."""
    tasks: Path
    """The file with the inputs."""
    first: int
    stop: int
    until_s: float
    """Monotonic; no task is begun after it."""
    out: int
    """The results, open for reading and writing."""
    pickled: bool
    timeout_s: float
    """Of one task; 0: none."""


def main(start: int, stop: int, *, budget_s: float, here: Path) -> int:
    """Run the tasks from `start` up to `stop`; return 0 unless the results cannot be written."""
    asked = json.loads((here / "call.json").read_text("utf-8"))
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    work = Work(
        here=here,
        tasks=here.parent / "tasks" / f"{start}-{stop}",
        first=start,
        stop=stop,
        until_s=time.monotonic() + budget_s,
        out=os.open(here.parent / "results", flags, 0o644),
        pickled=asked["results"] == "pickle",
        timeout_s=asked["timeout_s"],
    )
    wanted, have = asked["python"], list(sys.version_info[:2])
    if wanted != have:
        write(
            work.out,
            start,
            MISFIT,
            f"the function comes from Python {wanted[0]}.{wanted[1]}, and {sys.executable} is "
            f"Python {have[0]}.{have[1]}".encode(),
        )
        return 0
    run_to_the_end(work)
    return 0


def run_to_the_end(work: Work) -> None:
    """Start a child, and another after each one that died under a task."""
    begin = work.first
    while begin < work.stop:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            be_child(work, begin)
        ended = watch(child, work)
        if not ended:
            return
        died = whole_frames(work.out, begin)
        write(work.out, died, DIED, ended.encode())
        begin = died + 1
        if time.monotonic() > work.until_s:
            return


def watch(child: int, work: Work) -> str:
    """Wait for the child; return how it died, or nothing when it ended as it should."""
    size, since_s = os.fstat(work.out).st_size, float("inf")
    while True:
        pid, status = os.waitpid(child, os.WNOHANG if work.timeout_s else 0)
        if pid:
            break
        if os.fstat(work.out).st_size != size:
            size, since_s = os.fstat(work.out).st_size, time.monotonic()
        if time.monotonic() - since_s > work.timeout_s:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"timeout: it had not ended after {work.timeout_s:g} s"
        time.sleep(WATCH_S)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        why = "; most likely it needed more memory than it asked for" if number == 9 else ""
        return f"its process was killed by {signal.Signals(number).name}{why}"
    code = os.WEXITSTATUS(status)
    return f"its process ended with exit code {code}" if code else ""


def whole_frames(out: int, begin: int) -> int:
    """Cut off a frame that was not finished; return the first index that has none."""
    at, size = 0, os.fstat(out).st_size
    while at + FRAME.size <= size:
        index, kind, _seconds, payload_bytes = FRAME.unpack(os.pread(out, FRAME.size, at))
        if at + FRAME.size + payload_bytes > size:
            break
        at += FRAME.size + payload_bytes
        begin = begin if kind == READY else max(begin, index + 1)
    os.ftruncate(out, at)
    return begin


def be_child(work: Work, begin: int) -> None:
    """Run what there is time for, as the forked process. Never returns."""
    code = 1
    try:
        run_tasks(work, begin)
        sys.stdout.flush()
        sys.stderr.flush()
        code = 0
    except BaseException:
        # A full disk, say: the parent sees the exit code, and the log has the rest.
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(code)


def run_tasks(work: Work, begin: int) -> None:
    """Run tasks until the last, the budget's end, or too many bytes."""
    plain, pickle = beside(work.here, "plain"), cloudpickle_of(work.here)
    with work.tasks.open("rb") as file:
        heads = iter(lambda: file.read(SIZE.size), b"")
        inputs = [file.read(SIZE.unpack(head)[0]) for head in heads]
    try:
        with (work.here / "call.pkl").open("rb") as file:
            function = pickle.load(file)
    except Exception as error:
        # Whatever its modules do when they are imported.
        sys.excepthook(*sys.exc_info())
        text = f"the function cannot be loaded: {type(error).__name__}: {told(error)}"
        write(work.out, begin, MISFIT, text.encode("utf-8", "replace"))
        return
    write(work.out, begin, READY, b"")
    for index in range(begin, work.stop):
        begun_s = time.perf_counter()
        try:
            args, kwargs = pickle.loads(inputs[index - work.first])
            value = function(*args, **kwargs)
            kind, payload = written(plain, pickle, value=value, pickled=work.pickled)
            del value
        except BaseException as error:
            # As in every executor, SystemExit too is the task's own end and not the worker's.
            kind, payload = raised(plain, pickle, error=error, pickled=work.pickled)
        write(work.out, index, kind, payload, seconds=time.perf_counter() - begun_s)
        if time.monotonic() > work.until_s or os.fstat(work.out).st_size > RESULTS_BYTES_MAX:
            return


def written(plain: Any, pickle: Any, *, value: object, pickled: bool) -> tuple[bytes, bytes]:
    """Return a result's kind and bytes."""
    if pickled:
        return PICKLED, pickle.dumps(value)
    try:
        return VALUE, plain.encode(value)
    except plain.NotPlain as error:
        raise TypeError(
            f"the result cannot be sent back as plain data: {error}; return plain data or arrays, "
            'or say results="pickle" if you trust every island that it may run on'
        ) from None


def raised(plain: Any, pickle: Any, *, error: BaseException, pickled: bool) -> tuple[bytes, bytes]:
    """Return an error's kind and bytes: always a plain description; with pickle, itself too."""
    # Imported here, like all that most portions do without: each is a new process.
    import traceback

    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    sys.stderr.write(lines)
    described = {
        "module": str(type(error).__module__),
        "type": str(type(error).__qualname__),
        "text": told(error)[:TEXT_CHARS_MAX],
        "traceback": lines[-TRACEBACK_CHARS_MAX:],
        "args": None,
    }
    body: bytes = plain.encode(described)
    try:
        with_args: bytes = plain.encode({**described, "args": list(error.args)})
        if len(with_args) <= RESULTS_BYTES_MAX:
            body = with_args
    except Exception:
        # Arguments that are not plain stay behind; the text has what there is to say.
        pass
    if pickled:
        try:
            itself = pickle.dumps(error)
            pickle.loads(itself)
            return PICKLED_ERROR, SIZE.pack(len(body)) + body + itself
        except Exception:
            # An exception that does not survive pickle comes back as its description.
            pass
    return ERROR, body


def told(error: BaseException) -> str:
    """Return what an exception says; some fail at that, too."""
    try:
        return str(error)
    except Exception:
        return "(it cannot say what it is)"


def write(out: int, index: int, kind: bytes, payload: bytes, *, seconds: float = 0.0) -> None:
    """Append one frame."""
    data = memoryview(FRAME.pack(index, kind, seconds, len(payload)) + payload)
    while data:
        data = data[os.write(out, data) :]


def beside(here: Path, name: str) -> Any:
    """Load a module that lies beside this one, under a name that no program uses."""
    title = "_causeway_" + name
    module = types.ModuleType(title)
    sys.modules[title] = module
    importlib.machinery.SourceFileLoader(title, str(here / (name + ".py"))).exec_module(module)
    return module


def cloudpickle_of(here: Path) -> Any:
    """Import the cloudpickle that wrote the call, whatever else is installed."""
    lib = str(here / "lib")
    sys.path.insert(0, lib)
    try:
        return importlib.import_module("cloudpickle")
    finally:
        sys.path.remove(lib)


if __name__ == "__main__":
    place = Path(__file__).resolve().parent
    # The user's folder comes first in the path, and this one not at all.
    sys.path[0] = str(Path.cwd())
    first, last, seconds = sys.argv[1:]
    raise SystemExit(main(int(first), int(last), budget_s=float(seconds), here=place))
