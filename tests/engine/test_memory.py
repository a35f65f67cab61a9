from pathlib import Path

import pytest

from emo_serve.engine.host.memory import memory_limit
from tests.engine.test_cpus import tree

V2 = {"proc/self/cgroup": "0::/kube/pod/box\n"}
V1 = {"proc/self/cgroup": "4:memory:/docker/abc\n0::/\n"}
NONE = memory_limit(Path("/nowhere"))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (V2 | {"sys/fs/cgroup/memory.max": "67108864\n"}, 67108864),
        (V2 | {"sys/fs/cgroup/kube/pod/box/memory.max": "max\n", "sys/fs/cgroup/kube/memory.max": "4096\n"}, 4096),
        (V2 | {"sys/fs/cgroup/kube/pod/box/memory.max": "max\n"}, NONE),
        (V1 | {"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "8192\n"}, 8192),
        (V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, NONE),
    ],
    ids=["v2", "v2 parent", "v2 none", "v1", "v1 none"],
)
def test_the_limit_is_that_of_the_container_or_all_the_machine_has(
    tmp_path: Path, files: dict[str, str], limit: float
) -> None:
    assert memory_limit(tree(tmp_path, files)) == limit


def test_the_machine_has_some_memory() -> None:
    assert NONE > 2**20
