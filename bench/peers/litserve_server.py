"""LitServe: two workers, batches of up to four, as its documentation shows it for images."""

import litserve
import numpy as np
from work import PORT, Network, prepare


class Classify(litserve.LitAPI):
    """Its five steps."""

    def setup(self, device: str) -> None:  # noqa: ARG002  the name is LitServe's
        """In each worker."""
        self.network = Network()

    def decode_request(self, request) -> np.ndarray:  # noqa: ANN001  LitServe would parse the body as an annotation says
        """A multipart form with a file."""
        return prepare(request["file"].file.read())

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Several images."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> list[dict[str, object]]:
        """A batch."""
        return self.network(x)

    def unbatch(self, output: list[dict[str, object]]) -> list[dict[str, object]]:
        """Unchanged."""
        return output

    def encode_response(self, output: dict[str, object]) -> dict[str, object]:
        """Unchanged."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Classify(max_batch_size=4, batch_timeout=0.002), accelerator="cpu", devices=1, workers_per_device=2, timeout=60
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning", access_log=False)
