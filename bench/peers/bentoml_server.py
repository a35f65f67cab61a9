"""BentoML: two workers, adaptive batching."""

import bentoml
import numpy as np
from PIL.Image import Image
from work import Network, prepare


@bentoml.service(workers=2, threads=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Classify:
    """A service with one batched endpoint."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60000)
    def predict(self, images: list[Image]) -> list[dict]:
        """A batch; BentoML opens the files, decoding happens here."""
        return self.network(np.stack([prepare(image) for image in images]))
