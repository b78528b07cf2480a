"""The state of a training run as tensors and plain JSON, and back; nothing in it can execute.

A model's state is tensors by name. An optimizer's is flattened: tensors under `<param>.<name>`, all
else in JSON. Tuples, and floats that JSON has no number for, are tagged so that they come back as
they were; any other object is refused by name, since keeping it would need pickle.

Torch is imported when a function is called, never by importing this module.
"""

from __future__ import annotations

import importlib
import math
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from causeway.model.errors import InvalidInput

Tensors = dict[str, Any]
"""Name -> torch.Tensor."""

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "rng.safetensors"


class Stateful(Protocol):
    """A `torch.nn.Module`, an optimizer, or anything with their two methods."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that one checkpoint holds."""

    files: Mapping[str, Tensors]
    """File name -> tensors."""
    values: Mapping[str, Any]
    """Plain JSON values: `optimizer`, `rng`, `extra`."""


def torch_module() -> Any:
    """Import torch now."""
    return importlib.import_module("torch")


def unwrapped(model: Any) -> Any:
    """Return the model inside DistributedDataParallel and `torch.compile`."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = model.module
        if inner is None:
            return model
        model = inner


def gather(model: Stateful, optimizer: Stateful | None, extra: Mapping[str, Any]) -> State:
    """Name every tensor and value of the run. The tensors are the live ones, not copies."""
    torch = torch_module()
    files: dict[str, Tensors] = {MODEL: {}}
    for name, value in unwrapped(model).state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InvalidInput(f"model state {name!r} is a {type(value).__name__}, not a tensor")
        files[MODEL][name] = value
    values: dict[str, Any] = {"extra": plain(dict(extra), "$.extra")}
    if optimizer is not None:
        files[OPTIMIZER], values["optimizer"] = _flattened(optimizer.state_dict())
    files[RANDOM], values["rng"] = _random_state()
    for tensors in files.values():
        for name, tensor in tensors.items():
            if hasattr(tensor, "to_local"):
                raise InvalidInput(
                    f"{name!r} is sharded over several processes",
                    hint="gather it first, or use torch.distributed.checkpoint in the same folder",
                )
    return State(files=files, values=values)


def restore(state: State, model: Stateful, optimizer: Stateful | None, *, rng: bool) -> None:
    """Put a state back. The optimizer's may be absent only when no optimizer is given."""
    unwrapped(model).load_state_dict(state.files[MODEL])
    if optimizer is not None:
        if "optimizer" not in state.values:
            raise InvalidInput("the checkpoint holds no optimizer state")
        described = state.values["optimizer"]
        optimizer.load_state_dict(_unflattened(state.files.get(OPTIMIZER, {}), described))
    if rng:
        _restore_random(state.files.get(RANDOM, {}), state.values["rng"])


def _flattened(state: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    torch = torch_module()
    tensors: Tensors = {}
    rest: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    for key, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{key}.{name}"] = value
            else:
                rest[f"{key}.{name}"] = plain(value, f"$.optimizer.{key}.{name}")
    for index, group in enumerate(state["param_groups"]):
        kept: dict[str, Any] = {}
        for name, value in group.items():
            if isinstance(value, torch.Tensor):
                tensors[f"group{index}.{name}"] = value
            else:
                kept[name] = plain(value, f"$.optimizer.param_groups[{index}].{name}")
        groups.append(kept)
    return tensors, {"param_groups": groups, "values": rest}


def _unflattened(tensors: Tensors, described: Mapping[str, Any]) -> dict[str, Any]:
    groups = [
        {name: unplain(value) for name, value in group.items()}
        for group in described["param_groups"]
    ]
    state: dict[int, dict[str, Any]] = {}
    named = {name: unplain(value) for name, value in described["values"].items()} | tensors
    for path, value in named.items():
        key, _, name = path.partition(".")
        if key.startswith("group"):
            groups[int(key.removeprefix("group"))][name] = value
        else:
            state.setdefault(int(key), {})[name] = value
    return {"state": state, "param_groups": groups}


def _random_state() -> tuple[Tensors, dict[str, Any]]:
    torch = torch_module()
    tensors: Tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"cuda.{index}"] = state
    values: dict[str, Any] = {"python": plain(random.getstate(), "$.rng.python")}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        values["numpy"] = plain((name, keys.tolist(), *rest), "$.rng.numpy")
    return tensors, values


def _restore_random(tensors: Tensors, values: Mapping[str, Any]) -> None:
    torch = torch_module()
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda.{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
    random.setstate(unplain(values["python"]))
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in values:
        numpy.random.set_state(unplain(values["numpy"]))


def plain(value: Any, where: str) -> Any:
    """Return the value as JSON that `unplain` turns back, or refuse it by name.

    >>> unplain(plain({"betas": (0.9, 0.95), "most": float("inf")}, "$"))
    {'betas': (0.9, 0.95), 'most': inf}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, tuple):
        return {"$tuple": [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(
        isinstance(key, str) and not key.startswith("$") for key in value
    ):
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    raise InvalidInput(
        f"a checkpoint cannot hold a {type(value).__name__}",
        hint="numbers, text, lists, tuples and objects with text keys; tensors in a state_dict",
        where=where,
    )


def unplain(value: Any) -> Any:
    """Turn what `plain` made back into what it was."""
    if isinstance(value, list):
        return [unplain(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {"$tuple"}:
            return tuple(unplain(item) for item in value["$tuple"])
        if set(value) == {"$float"}:
            return float(value["$float"])
        return {key: unplain(item) for key, item in value.items()}
    return value


class HostBuffers:
    """Tensors in host memory that are filled again and again; made when first needed."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Any] = {}

    def copy(self, files: Mapping[str, Tensors]) -> dict[str, Tensors]:
        """Copy every tensor; device copies overlap, and all have arrived when this returns."""
        torch = torch_module()
        waits = False
        copies: dict[str, Tensors] = {}
        for file, tensors in files.items():
            copies[file] = {}
            for name, tensor in tensors.items():
                kept = self._kept.get((file, name))
                if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
                    pinned = tensor.is_cuda
                    kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
                    self._kept[file, name] = kept
                kept.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
                waits = waits or tensor.is_cuda
                copies[file][name] = kept
        if waits:
            torch.cuda.synchronize()
        return copies
