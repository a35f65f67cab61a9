"""Several processes that train one model, as torchrun starts them: each has its share of every batch."""

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

_PATIENCE = dt.timedelta(days=1)  # the others wait while the first one measures and exports


@dataclass(frozen=True, slots=True)
class Processes:
    """How many there are, and which this one is; the first one keeps the run's folder and measures."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the first one."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process' part of a batch."""
        return rows[self.rank :: self.count]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over all processes; buffers are those of the first one."""
        return network if self.count == 1 else DistributedDataParallel(network)

    def mean(self, value: float) -> float:
        """The mean of all processes' values."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64 if self.device.type == "cpu" else None, device=self.device)
        distributed.all_reduce(total)
        return total.item() / self.count

    def agree(self, decision: bool) -> bool:  # noqa: FBT001 - a decision is what it is about
        """What the first process decided; the others wait for it."""
        if self.count == 1:
            return decision
        decided = torch.tensor(int(decision), device=self.device)
        distributed.broadcast(decided, src=0)
        return bool(decided.item())


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Give the processes that torchrun started, or this one alone; only the first one writes to the terminal.

    They talk by NCCL where there are GPUs, one for each, and else by Gloo. Raise ValueError for too few GPUs.
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
        distributed.barrier()  # nobody leaves before the first one has measured and exported
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):  # noqa: PTH123 - no path of ours
        yield
