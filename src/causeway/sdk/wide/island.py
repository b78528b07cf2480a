"""What is inside one island: the module's parameters as one vector, and the ranks that share them.

The first rank speaks with the other islands; what came of it goes to the other ranks by broadcast.
Torch is imported when this is used, never by importing the package.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from causeway.model.errors import InvalidInput
from causeway.sdk.states import torch_module, unwrapped
from causeway.sdk.wide.codec import Vector


class Island:
    """A module's trained parameters, and this process's place among the island's ranks."""

    def __init__(self, model: Any) -> None:
        torch = torch_module()
        named = [(n, p) for n, p in unwrapped(model).named_parameters() if p.requires_grad]
        for name, parameter in named:
            if hasattr(parameter, "to_local"):
                raise InvalidInput(
                    f"{name!r} is sharded over several processes",
                    hint="inside an island, DistributedDataParallel is what works with this",
                )
            if not parameter.is_floating_point():
                raise InvalidInput(f"{name!r} is {parameter.dtype}, which cannot be averaged")
        if not named:
            raise InvalidInput("the model has no parameter that is trained")
        self._parameters = [parameter for _, parameter in named]
        self._dist = importlib.import_module("torch.distributed")
        shared = self._dist.is_available() and self._dist.is_initialized()
        if not shared and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InvalidInput(
                "this process is one of several, and torch.distributed is not initialised",
                hint="call init_process_group before making an Outer: one rank speaks for all",
            )
        self.rank = self._dist.get_rank() if shared else 0
        self.world_size = self._dist.get_world_size() if shared else 1
        self.torch = torch

    @property
    def first(self) -> bool:
        """Whether this process speaks for the island."""
        return self.rank == 0

    def read(self) -> Vector:
        """Return all trained parameters as one vector in host memory."""
        flat = [p.detach().reshape(-1).float().cpu() for p in self._parameters]
        whole: Vector = self.torch.cat(flat).numpy()
        return whole.astype(np.float32, copy=True)

    def write(self, values: Vector) -> None:
        """Set all trained parameters."""
        flat, at = self.torch.from_numpy(values), 0
        with self.torch.no_grad():
            for parameter in self._parameters:
                size = parameter.numel()
                parameter.copy_(flat[at : at + size].view_as(parameter))
                at += size

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """Return the first rank's numbers on every rank, and give all its parameters too."""
        if self.world_size == 1:
            return list(numbers)
        device = self._parameters[0].device
        said = self.torch.tensor(list(numbers), dtype=self.torch.int64, device=device)
        self._dist.broadcast(said, 0)
        for parameter in self._parameters:
            self._dist.broadcast(parameter.detach(), 0)
        return [int(number) for number in said.tolist()]
