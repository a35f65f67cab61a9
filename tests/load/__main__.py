"""Load one address with the same photo again and again.

    python -m tests.load http://127.0.0.1:8000/classify photo.jpg --clients 32 --seconds 5 [--rate 80]

Without ``--rate`` each client sends the next as soon as it has an answer, or when a refusal's Retry-After has passed;
with it, requests come by chance (Poisson) at that rate whatever became of earlier ones, and times are counted from the
moment at which they should have been sent. One JSON object is printed.
"""

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.load.generator import Load, request_bytes

MOST_CLIENTS = 2048
MOST_SECONDS = 120.0


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, help="requests a second, by chance")
    parser.add_argument("--multipart", default="", help="name of the form's part; without it the body is the photo")
    parser.add_argument("--expected", default="", help="what a good answer contains, written without spaces")
    options = parser.parse_args()
    url = urlsplit(options.url)
    if not 0 < options.clients <= MOST_CLIENTS or not 0 < options.seconds <= MOST_SECONDS:
        parser.error(f"at most {MOST_CLIENTS} clients and {MOST_SECONDS:g} seconds")
    request = request_bytes(options.url, options.photo.read_bytes(), options.multipart)
    load = Load((url.hostname or "", url.port or 80), request, options.clients, options.expected.encode())
    result = load.open_loop(options.seconds, options.rate) if options.rate else load.closed_loop(options.seconds)
    quantiles = {f"p{share * 100:g}": round(result.quantile(share), 2) for share in (0.5, 0.95, 0.99)}
    counts = {"lost": result.lost, "wrong": result.wrong, "unanswered": result.unanswered}
    figures = {"rate": round(result.rate, 2), **quantiles, "worst": round(result.quantile(1.0), 2), **counts}
    sys.stdout.write(json.dumps({"statuses": result.statuses, **figures}) + "\n")


if __name__ == "__main__":
    main()
