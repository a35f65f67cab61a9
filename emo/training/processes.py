"""Distributed training by several processes, as torchrun starts them: each has its share of every batch."""

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

_PATIENCE = dt.timedelta(days=1)  # the others wait while the first one evaluates and exports


@dataclass(frozen=True, slots=True)
class Processes:
    """The number of processes, and the rank of this one; the first one writes the run's folder and evaluates."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """True for the first process."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process' part of a batch."""
        return rows[self.rank :: self.count]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes; buffers are those of the first one."""
        return network if self.count == 1 else DistributedDataParallel(network)

    def mean(self, value: float) -> float:
        """The mean of all processes' values."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64 if self.device.type == "cpu" else None, device=self.device)
        distributed.all_reduce(total)
        return total.item() / self.count

    def agree(self, decision: bool) -> bool:  # noqa: FBT001 - its only argument
        """The decision of the first process; the others wait for it."""
        if self.count == 1:
            return decision
        decided = torch.tensor(int(decision), device=self.device)
        distributed.broadcast(decided, src=0)
        return bool(decided.item())


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Yield the processes that torchrun started, or this one alone; only the first one writes to the terminal.

    They communicate by NCCL if there are GPUs, one for each, otherwise by Gloo. Raise ValueError for too few GPUs.
    """
    has_gpu = torch.cuda.is_available()
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=torch.device("cuda" if has_gpu else "cpu"))
        return
    device = torch.device("cpu")
    if has_gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            msg = f"process {device.index + 1} of this machine has no GPU: there are {torch.cuda.device_count()}"
            raise ValueError(msg)
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if has_gpu else "gloo", timeout=_PATIENCE)
    try:
        processes = Processes(distributed.get_rank(), count, device)
        with contextlib.nullcontext() if processes.leads else _silence():
            yield processes
        distributed.barrier()  # no process ends before the first one has evaluated and exported
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):  # noqa: PTH123 - not a Path
        yield
