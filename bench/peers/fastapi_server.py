"""A careful developer's FastAPI: raw bodies, one thread of work in each of two processes, bad images get 400."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, HTTPException, Request
from work import Network, prepare

app = FastAPI()
network = Network()
pool = ThreadPoolExecutor(1)


def answer(data: bytes) -> dict[str, object]:
    """In a thread."""
    try:
        tensor = prepare(data)
    except Exception as error:
        raise HTTPException(400, "not an image") from error
    return dict(network(tensor[None])[0])


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    """The best classes."""
    return await asyncio.get_running_loop().run_in_executor(pool, answer, await request.body())
