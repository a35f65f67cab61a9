"""Arguments of the commands; imports nothing that takes time."""

import argparse
from pathlib import Path

_INPUTS = "picture, folder, quoted pattern, .txt list of paths, or the same in an object store (s3://…)"


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve predict``."""
    parser.add_argument(
        "inputs", nargs="+", metavar="PATH", help=f"{_INPUTS}, video (with ffmpeg), or - for standard input"
    )
    _add_model_arguments(parser)
    parser.add_argument("--url", help="ask the server at this address instead (its key in EMO_CLIENT_API_KEY)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture instead of a table")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write the pictures with their answers drawn on them")


def add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve batch``."""
    parser.add_argument("inputs", nargs="+", metavar="PATH", help=_INPUTS)
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder or s3://… of the output, for this job alone"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="what computes: this machine, or the cluster at RAY_ADDRESS, without which Ray runs here (local)",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "parquet", "coco"),
        default="jsonl",
        help="of the output; coco for detectors (jsonl)",
    )
    parser.add_argument("--shard-size", type=int, default=1000, metavar="N", help="pictures in an output file (1000)")
    parser.add_argument("--processes", type=int, metavar="N", help="that compute (one a core)")
    parser.add_argument(
        "--max-failure-rate",
        type=float,
        default=1.0,
        metavar="R",
        help="end early if more of the pictures fail (1: never)",
    )
    _add_model_arguments(parser)


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve models``."""
    parser.add_argument("name", nargs="?", metavar="NAME[@VERSION]", help="show this model instead of a list")
    _add_repository_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; of one model its manifest")


def add_promote_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve promote``."""
    parser.add_argument("name", metavar="NAME", help="model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("version", nargs="?", metavar="VERSION", help="version that is to answer alone")
    what.add_argument("--back", action="store_true", help="let the version answer that was promoted away from")
    parser.add_argument("--alias", default="default", help="whose version it becomes (default)")
    parser.add_argument("--dry-run", action="store_true", help="check, and say what would change")
    _add_repository_argument(parser)


def add_rollout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve rollout``."""
    parser.add_argument("name", metavar="NAME", help="model")
    parser.add_argument("version", metavar="VERSION", help="in the repository of each replica")
    parser.add_argument(
        "--replica",
        dest="replicas",
        action="append",
        required=True,
        metavar="URL",
        help="administration of a server, such as http://10.0.0.4:8001; one for each",
    )
    parser.add_argument(
        "--token-file", dest="admin_token_file", type=Path, help="file of its token (EMO_ADMIN_TOKEN_FILE)"
    )
    parser.add_argument(
        "--pause", type=float, default=0.0, metavar="SECONDS", help="from one replica to the next, to look at it (0)"
    )
    parser.add_argument(
        "--timeout",
        dest="seconds",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="for a replica to load and try it (600)",
    )


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve doctor``."""
    parser.add_argument("--host", help="address that a server would listen on (EMO_HOST)")
    parser.add_argument("--port", type=int, help="and its TCP port (EMO_PORT)")
    _add_repository_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_mcp_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emo-serve mcp``."""
    parser.add_argument("--url", default="http://localhost:8000", help="address of a running server (%(default)s)")
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR", help="the assistant may name files in here (this folder)"
    )


def _add_repository_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    _add_repository_argument(parser)
    parser.add_argument(
        "--task", choices=("classify", "detect", "segment"), help="whose default model answers (classify)"
    )
    parser.add_argument("--model", metavar="NAME[@VERSION]", help="the model that answers")
    parser.add_argument("--top-k", type=int, metavar="K", help="most classes of a picture (5)")
    parser.add_argument(
        "--score-threshold", type=float, metavar="S", help="least score of a class or an object, 0 to 1"
    )
    parser.add_argument(
        "--iou-threshold", type=float, metavar="I", help="most overlap of two objects of a class, 0 to 1"
    )
    parser.add_argument("--max-detections", type=int, metavar="N", help="most objects in a picture")
    parser.add_argument(
        "--classes", action="append", metavar="NAME", help="only these objects; repeated, or with commas"
    )
    parser.add_argument(
        "--class-agnostic", action="store_const", const=True, help="boxes of different classes suppress each other too"
    )
