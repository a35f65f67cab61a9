"""mosec: two workers that decode and compute, batches of up to four."""

import numpy as np
from mosec import DecodingError, Server, Worker
from work import Network, prepare


class Classify(Worker):
    """Both steps, as one stage costs less than two here."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def deserialize(self, data: bytes) -> np.ndarray:
        """A bad image fails alone."""
        try:
            return prepare(data)
        except Exception as error:
            raise DecodingError("not an image") from error  # noqa: EM101, TRY003  as its users write it

    def forward(self, data: list[np.ndarray]) -> list[dict[str, list[dict[str, float]]]]:
        """A batch."""
        return self.network(np.stack(data))


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=2, max_batch_size=4, max_wait_time=1)
    server.run()
