"""Robyn: a front end in Rust, handlers in two threads, no batching."""

from robyn import Request, Robyn
from work import PORT, Network, prepare

app = Robyn(__file__)
network = Network()


@app.post("/predict")
def predict(request: Request) -> dict[str, object]:
    """The best classes."""
    body = request.body
    return dict(network(prepare(body.encode("latin1") if isinstance(body, str) else bytes(body))[None])[0])


app.start(host="127.0.0.1", port=PORT)
