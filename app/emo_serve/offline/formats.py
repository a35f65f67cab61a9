"""Rows of a shard -> an output file: JSON lines, Parquet or COCO; and how many of them have an error."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic_core import to_json

from emo_serve.errors import InvalidParameter, StartupError
from emo_serve.manifest import Task

Format = Literal["jsonl", "parquet", "coco"]
Row = dict[str, Any]
"""``input``, ``error`` (None or why there is no answer), and the members of the server's answer."""

SUFFIXES: Mapping[Format, str] = MappingProxyType({"jsonl": "jsonl", "parquet": "parquet", "coco": "json"})


def writer_for(file_format: Format, task: Task, labels: tuple[str, ...]) -> Callable[[Path, int, Sequence[Row]], None]:
    """A function that writes rows, the first of which is input number ``start``, into a file.

    Raises InvalidParameter if the format does not fit the task, StartupError if it needs a package that is missing.
    """
    if file_format == "jsonl":
        return _write_jsonl
    if file_format == "parquet":
        schema = _parquet_schema(task)
        return lambda path, _, rows: _write_parquet(path, rows, schema)
    if task != "detect":
        msg = f"coco is a format for detectors, and the model is for {task}; allowed are jsonl and parquet"
        raise InvalidParameter(msg)
    return lambda path, start, rows: _write_coco(path, start, rows, labels)


def _write_jsonl(path: Path, start: int, rows: Sequence[Row]) -> None:
    del start
    path.write_bytes(b"".join(to_json(row) + b"\n" for row in rows))


def _parquet_schema(task: Task) -> Any:  # noqa: ANN401  pyarrow has no types
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        msg = "Parquet needs the package pyarrow: pip install 'emo-serve[parquet]'"
        raise StartupError(msg) from error
    scored = [("class_id", pa.int32()), ("name", pa.string()), ("score", pa.float32())]
    size = pa.struct([("width", pa.int32()), ("height", pa.int32())])
    model = pa.struct([("name", pa.string()), ("version", pa.string()), ("sha256", pa.string())])
    columns: dict[Task, list[tuple[str, Any]]] = {
        "classify": [
            ("classifications", pa.list_(pa.struct([*scored, ("group", pa.string())]))),
            ("groups", pa.list_(pa.struct(scored[1:]))),
        ],
        "detect": [("detections", pa.list_(pa.struct([*scored, ("box", pa.list_(pa.float32(), 4))])))],
        "segment": [("classes", pa.list_(_region(pa)))],
    }
    return pa.schema(
        [("input", pa.string()), ("error", pa.string()), ("model", model), ("image", size), *columns[task]]
    )


def _region(pa: Any) -> Any:  # noqa: ANN401  as above
    rle = pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])
    counted = [("class_id", pa.int32()), ("name", pa.string()), ("pixels", pa.int64()), ("share", pa.float32())]
    return pa.struct([*counted, ("rle", rle)])


def _write_parquet(path: Path, rows: Sequence[Row], schema: Any) -> None:  # noqa: ANN401  as above
    import pyarrow as pa  # noqa: PLC0415  as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)


def _write_coco(path: Path, start: int, rows: Sequence[Row], labels: tuple[str, ...]) -> None:
    """A COCO document; ids of images are their positions among all inputs, from 1, and differ between shards.

    Pictures without an answer are listed under ``errors``.
    """
    answered = [(number, row) for number, row in enumerate(rows, start + 1) if row["error"] is None]
    annotations = [
        {
            "id": number * 1000 + count,  # a picture has at most 1000 objects
            "image_id": number,
            "category_id": entry["class_id"],
            "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
            "area": round((right - left) * (bottom - top), 2),
            "iscrowd": 0,
            "score": entry["score"],
        }
        for number, row in answered
        for count, entry in enumerate(row["detections"])
        for left, top, right, bottom in [entry["box"]]
    ]
    document = {
        "info": {"model": answered[0][1]["model"]} if answered else {},
        "images": [{"id": number, "file_name": row["input"], **row["image"]} for number, row in answered],
        "categories": [{"id": class_id, "name": name} for class_id, name in enumerate(labels)],
        "annotations": annotations,
        "errors": [{"file_name": row["input"], "error": row["error"]} for row in rows if row["error"] is not None],
    }
    path.write_bytes(to_json(document) + b"\n")


def failures_in(file_format: Format, content: bytes) -> int:
    """How many rows of an output file have an error; raises ValueError for what is no Parquet.

    JSON is searched, not parsed: within a string a quotation mark follows a backslash, so these keys are in none.
    """
    if file_format == "jsonl":
        return content.count(b"\n") - content.count(b'"error":null')
    if file_format == "coco":
        return content.rpartition(b'"errors":[')[2].count(b'"file_name":')
    import pyarrow.parquet as pq  # noqa: PLC0415  as above

    errors = pq.read_table(io.BytesIO(content), columns=["error"])["error"]
    return len(errors) - int(errors.null_count)
