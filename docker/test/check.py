"""Asks the composed service through its balancer, and Prometheus about it: ``check.py BALANCER PROMETHEUS``."""

import io
import sys
import time

import httpx
import skimage.data
from PIL import Image

REPLICAS = 3
REQUESTS = 20
PATIENCE_SECONDS = 60


def photo() -> bytes:
    """A real photo as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(skimage.data.chelsea()).save(file, "JPEG")
    return file.getvalue()


def ask(balancer: str) -> None:
    """Post photos to both routes; raises where an answer is no 200 or answers differ."""
    body = photo()
    for route in ("classify", "detect"):
        answers = []
        for _ in range(REQUESTS):
            response = httpx.post(
                f"{balancer}/{route}", content=body, headers={"Content-Type": "image/jpeg"}, timeout=30
            )
            response.raise_for_status()
            answers.append(response.json())
        if any(answer != answers[0] for answer in answers):
            msg = f"/{route}: the replicas answer differently"
            raise RuntimeError(msg)
        print(f"/{route}: {REQUESTS} equal answers from {answers[0]['model']}")


def wait_for_targets(prometheus: str) -> None:
    """Return when Prometheus has scraped every replica; raises TimeoutError when it does not come to that."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        response = httpx.get(f"{prometheus}/api/v1/query", params={"query": 'up{job="emo-serve"} == 1'}, timeout=5)
        up = response.json()["data"]["result"]
        if len(up) == REPLICAS:
            print(f"prometheus: {REPLICAS} replicas up")
            return
        time.sleep(1)
    msg = f"Prometheus sees {len(up)} replicas up, not {REPLICAS}"
    raise TimeoutError(msg)


if __name__ == "__main__":
    ask(sys.argv[1])
    wait_for_targets(sys.argv[2])
