from pathlib import Path

import pytest

from emo_serve.engine.host.cpus import cgroup_quota, this_machine, usable_cores


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


V2 = {"proc/self/cgroup": "0::/kube/pod/box\n"}
V1 = {"proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n1:name=systemd:/\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        (V2 | {"sys/fs/cgroup/kube/pod/box/cpu.max": "150000 100000\n"}, 1.5),
        (V2 | {"sys/fs/cgroup/kube/pod/box/cpu.max": "max 100000\n"}, None),
        (
            V2
            | {"sys/fs/cgroup/kube/pod/box/cpu.max": "max 100000\n", "sys/fs/cgroup/kube/pod/cpu.max": "50000 100000"},
            0.5,
        ),
        (V2 | {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),  # in a container: only its own group is mounted
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
        (
            V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us": "75000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us": "50000\n",
            },
            1.5,
        ),
        (V2, None),
        (V2 | {"sys/fs/cgroup/cpu.max": "nonsense"}, None),
        ({}, None),
    ],
    ids=[
        "v2",
        "v2 none",
        "v2 parent",
        "v2 container",
        "v1",
        "v1 none",
        "v1 container",
        "v1 parent",
        "no files",
        "garbled",
        "no proc",
    ],
)
def test_the_quota_is_read_from_either_generation_of_cgroups(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert cgroup_quota(tree(tmp_path, files)) == quota


def test_a_quota_caps_the_cores_and_half_a_core_counts_as_one(tmp_path: Path) -> None:
    assert usable_cores(tree(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": "50000 100000"})) == 1


def test_a_core_and_a_half_counts_as_two_cores_as_far_as_the_affinity_mask_allows(tmp_path: Path) -> None:
    root = tree(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": "150000 100000"})
    assert usable_cores(root) == min(2, usable_cores(Path("/none")))


def test_a_machine_is_named_by_its_cpu_cores_and_quota(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: Example 9000 @ 3:2\n\nprocessor\t: 1\nmodel name\t: Example 9000 @ 3:2\n"
    root = tree(tmp_path, V2 | {"proc/cpuinfo": cpuinfo, "sys/fs/cgroup/cpu.max": "50000 100000"})
    machine = this_machine(root)
    assert (machine.cpu, machine.cores, machine.quota) == ("Example 9000 @ 3:2", 1, 0.5)
    assert this_machine(tmp_path / "none").cpu  # the architecture, where the CPU has no name


def test_without_a_quota_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) >= 1
    assert usable_cores(tree(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": "99900000 100000"})) == usable_cores(
        Path("/none")
    )
