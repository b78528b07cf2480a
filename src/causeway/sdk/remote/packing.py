"""A function and its inputs as files that travel to the islands.

Functions travel by value: what they refer to in their own module comes along, and other modules of
the same project come with the working folder. The user's own code is pickled here and unpickled
inside the user's own job, by the same version of Python; nothing else ever unpickles it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import py_compile
import shutil
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode
from types import ModuleType
from typing import Any

import cloudpickle

from causeway.model.errors import InvalidInput
from causeway.sdk.remote import plain, runner
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.plan import Portion

_registry = threading.Lock()
"""cloudpickle's list of modules that travel by value is one for the whole process."""


def write_call(folder: Path, function: Callable[..., Any], *, options: Options) -> None:
    """Write what every portion of a run needs: the program, the function, and what was asked."""
    for module in (runner, plain):
        shutil.copyfile(str(module.__file__), folder / f"{module.__name__.rpartition('.')[2]}.py")
    lib = folder / "lib" / "cloudpickle"
    lib.mkdir(parents=True)
    for source in Path(str(cloudpickle.__file__)).parent.glob("*.py"):
        shutil.copyfile(source, lib / source.name)
    for source in (folder / "plain.py", *lib.glob("*.py")):
        # Every portion is a new process in a new folder: compiled once here, not in each of them.
        # An interpreter that does not know this bytecode reads the source.
        py_compile.compile(str(source), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    (folder / "call.pkl").write_bytes(pickled(function, own_module(function)))
    asked = {
        "python": list(sys.version_info[:2]),
        "results": options.results,
        "timeout_s": options.timeout_s,
    }
    (folder / "call.json").write_text(json.dumps(asked), "utf-8")


def write_tasks(folder: Path, portion: Portion, *, payloads: Sequence[bytes]) -> None:
    """Write the inputs of one portion."""
    with (folder / f"{portion.start}-{portion.stop}").open("wb") as file:
        for payload in payloads:
            file.write(runner.SIZE.pack(len(payload)))
            file.write(payload)


def pickled(value: object, module: ModuleType | None) -> bytes:
    """Return the value's pickle; what belongs to the module goes by value."""
    with _by_value(module):
        try:
            return bytes(cloudpickle.dumps(value))
        except Exception as error:
            # Whatever an object's own `__reduce__` raises: it cannot travel, and that is why.
            raise InvalidInput(
                f"{type(value).__name__} cannot travel to another machine: {error}",
                hint="open files, locks and connections inside the function",
            ) from error


def own_module(function: Callable[..., Any]) -> ModuleType | None:
    """Return the function's module when it is the user's own and so cannot be taken to be on the
    islands; what is installed (and `__main__`, which always goes by value) gives None."""
    while isinstance(function, functools.partial):
        function = function.func
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    place = getattr(module, "__file__", None)
    if module is None or place is None or module.__name__ == "__main__":
        return None
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {site.getusersitepackages(), *site.getsitepackages()}
    path = Path(place).resolve()
    return None if any(path.is_relative_to(Path(one).resolve()) for one in folders) else module


@contextmanager
def _by_value(module: ModuleType | None) -> Iterator[None]:
    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    with _registry:
        cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            cloudpickle.unregister_pickle_by_value(module)


def fingerprint(function: Callable[..., Any], calls: Sequence[tuple[Any, Any]]) -> str:
    """Return a digest by which a later program shows that it asks for the same run.

    Of the function it covers the source text (or the bytecode where there is none), of plain
    inputs their values, of others only their types: their pickles differ from one process to the
    next.
    """
    seen = hashlib.sha256()
    calls = list(calls)
    while isinstance(function, functools.partial):
        calls.append((function.args, function.keywords))
        function = function.func
    try:
        seen.update(inspect.getsource(function).encode())
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        seen.update(code.co_code if code is not None else repr(type(function)).encode())
    for args, kwargs in calls:
        try:
            seen.update(plain.encode([list(args), sorted(kwargs.items())]))
        except plain.NotPlain:
            seen.update(" ".join(plain.kind_name(one) for one in args).encode())
    return seen.hexdigest()
