"""The results of ``bench.compare`` as a table in Markdown and as a picture.

    python -m bench.report [.bench/results-emo_1m.json] [--picture docs/images/bench.png]

Without a file it is the newest. Ratios are between measurements of the same round, so that a machine that becomes
slower meanwhile changes them little.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.compare import LIMIT, MANY, REFERENCE_CLIENTS, SHARES
from bench.servers import ENVIRONMENTS, OURS

mpl.use("Agg")
from matplotlib import pyplot as plt

Results = dict[str, Any]


def main() -> None:
    """Print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    file = options.results or max(ENVIRONMENTS.glob("results-*.json"), key=lambda file: file.stat().st_mtime)
    results = json.loads(file.read_text(encoding="utf-8"))
    print("\n".join(table(results)))
    if options.picture:
        draw(results, options.picture)


def rates(server: Results, clients: int = REFERENCE_CLIENTS) -> list[float]:
    """Good answers a second, round by round."""
    return [found["rate"] for found in server["closed"].get(str(clients), [])]


def ratio(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of the rounds, with the smallest and the largest."""
    found = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def table(results: Results) -> list[str]:
    """A row for each server, the fastest first."""
    about, servers = results["about"], results["servers"]
    clients = sorted({int(number) for server in servers.values() for number in server["closed"]})
    head = ["server", *(f"{number} clients" for number in clients), f"{OURS} / it", "CPU ms", "p99 ms"]
    whole = all("many" in server for server in servers.values())
    if whole:
        head += [f"p99 at {share:.0%}" for share in SHARES] + [f"{MANY} clients", "MiB", "start s", "idle"]
    lines = [", ".join(f"{key}: {value}" for key, value in about.items()), ""]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    ours = rates(servers[OURS])
    limits = [found["rate"] for found in results[LIMIT]]
    cpu = statistics.median(found["cpu_ms"] for found in results[LIMIT])
    blank = [""] * (len(head) - 3 - len(clients))
    cells = [f"{statistics.median(limits):.0f}" if number == REFERENCE_CLIENTS else "" for number in clients]
    lines.append("| " + " | ".join(["no HTTP", *cells, ratio(ours, limits), f"{cpu:.1f}", *blank]) + " |")
    for name, server in sorted(servers.items(), key=lambda item: -statistics.median(rates(item[1]))):
        cells = [f"{statistics.median(rates(server, number)):.0f}" for number in clients]
        cells.append("" if name == OURS else ratio(ours, rates(server)))
        reference = server["closed"][str(REFERENCE_CLIENTS)]
        cells.append(f"{statistics.median(map(cpu_ms, reference)):.1f}")
        cells.append(f"{statistics.median(found['p99'] for found in reference):.0f}")
        if whole:
            cells += [f"{by_chance(server, share, 'p99'):.0f}" for share in SHARES]
            cells += [many(server["many"]), f"{server['memory_mib']:.0f}"]
            cells += [f"{server['start_seconds']:.1f}", f"{server['idle_cores']:.1%}"]
        lines.append("| " + " | ".join([f"{name} {about['versions'][name]}", *cells]) + " |")
    return lines


def by_chance(server: Results, share: float, quantile: str) -> float:
    """Milliseconds at this share of its maximum, the median of the rounds."""
    return float(statistics.median(found[quantile] for found in server[f"open_{share}"]))


def cpu_ms(found: Results) -> float:
    """CPU milliseconds of an answer."""
    return float(found["cpu_seconds"]) / max(1, int(sum(found["statuses"].values()))) * 1000


def many(found: Results) -> str:
    """Result with very many clients: good answers per second, the longest wait, refusals and losses."""
    refused = sum(count for status, count in found["statuses"].items() if status != "200")
    others = [f"{refused} refused"] * bool(refused) + [f"{found['lost']} lost"] * bool(found["lost"])
    return ", ".join([f"{found['rate']:.0f}/s", f"worst {found['worst'] / 1000:.1f} s", *others])


def draw(results: Results, path: Path) -> None:
    """Throughput by the number of clients, and times at four fifths of what each can do."""
    servers = results["servers"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, server in servers.items():
        clients = sorted(map(int, server["closed"]))
        middle = [statistics.median(rates(server, number)) for number in clients]
        style = {"linewidth": 2.5, "color": "black"} if name == OURS else {"linewidth": 1.3}
        left.plot(range(len(clients)), middle, marker="o", label=name, **style)
        left.set_xticks(range(len(clients)), [str(number) for number in clients])
    limit = statistics.median(found["rate"] for found in results[LIMIT])
    left.axhline(limit, color="grey", linestyle=":", label="no HTTP, our graph and pixels")
    left.set(title=f"{results['about']['model']}: images a second", xlabel="clients", ylim=(0, 1.45 * limit))
    left.legend(fontsize=8, loc="upper left", ncols=2)
    share = SHARES[-1]
    names = [name for name, server in servers.items() if f"open_{share}" in server]
    for offset, quantile in enumerate(("p50", "p95", "p99")):
        heights = [by_chance(servers[name], share, quantile) for name in names]
        right.bar([place + 0.27 * (offset - 1) for place in range(len(names))], heights, 0.25, label=quantile)
    right.set_xticks(range(len(names)), names)
    right.set(title=f"milliseconds at {share:.0%} of what each can do, requests by chance", yscale="log")
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
