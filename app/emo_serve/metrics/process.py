"""Metrics of any process of the server, and those of the one that supervises the workers."""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, disable_created_metrics

Ending = Literal["failed", "exited", "crashed", "killed", "hung"]


def process_registry() -> CollectorRegistry:
    """A registry with the system's figures about this process, and without ``_created`` series."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    return registry


class SupervisorMetrics:
    """The metrics of the supervisor."""

    def __init__(self) -> None:
        """Declare every metric in a new registry."""
        self.registry = process_registry()
        self.restarts = Counter(
            "emo_worker_restarts",
            "Workers that ended unasked and were replaced, by how they ended.",
            ["reason"],
            registry=self.registry,
        )
        for reason in get_args(Ending):  # series exist, at 0, from the start
            self.restarts.labels(reason)
