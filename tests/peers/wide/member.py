"""One member's program: a tiny model, slow steps, an average after every few of them."""

from __future__ import annotations

import hashlib
import os
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from causeway.sdk.checkpoint import Checkpointer
from causeway.sdk.wide import Outer

steps, pause_s = int(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(1)
torch.manual_seed(1)
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    dist.init_process_group("gloo")
rank = int(os.environ.get("RANK", "0"))
member = int(os.environ.get("CAUSEWAY_ARRAY_INDEX", "0"))
model = torch.nn.Linear(8, 4)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
checkpoints = Checkpointer()
outer = Outer(model, optimizer, every=5)
checkpoints.load(model, outer)
outer.join()
trained = DistributedDataParallel(model) if dist.is_initialized() else model
print(f"joined at step {outer.steps}, round {outer.rounds}", flush=True)
while outer.steps < steps:
    chance = torch.Generator().manual_seed(100 * outer.steps + 10 * member + rank)
    x = torch.randn(16, 8, generator=chance)
    loss = (trained(x) - x[:, :4]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    outer.step()
    islands = outer.last.members if outer.last else 0
    checkpoints.report(outer.steps, loss=loss.item(), rounds=outer.rounds, islands=islands)
    if outer.steps % 10 == 0:
        checkpoints.save(outer.steps, model, outer)
    time.sleep(pause_s)
outer.finish()
checkpoints.wait()
flat = torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().tobytes()
print(f"rank {rank} ends with {hashlib.sha256(flat).hexdigest()} after {outer.rounds}", flush=True)
if dist.is_initialized():
    dist.destroy_process_group()
