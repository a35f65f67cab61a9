"""Pictures and output in an object store that speaks S3, by both engines."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from emo_serve.process.exit_codes import EXIT_OK, EXIT_STARTUP
from tests.offline.folders import write_pictures
from tests.serving import emo_serve
from tests.support import write_classifier


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with models and photos, and the environment in which the same photos are at s3://photos/of/."""
    folder = tmp_path_factory.mktemp("store")
    write_classifier(folder / "models")
    paths = write_pictures(folder / "photos", 30, broken=frozenset({7}))
    paths[11].write_bytes(b"")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = bucket(environment)
    client.create_bucket(Bucket="photos")
    for path in paths:
        client.put_object(Bucket="photos", Key=f"of/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket="photos", Key="of/.hidden.png", Body=b"")
    client.put_object(Bucket="photos", Key="of/readme.md", Body=b"")
    client.put_object(Bucket="photos", Key="list.txt", Body=b"of/0000.png\ns3://photos/of/none.png\n")
    yield folder, environment
    server.stop()


def bucket(environment: dict[str, str]) -> "boto3.client":
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106  # of a server that looks at none
        region_name="us-east-1",
    )


def batch(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    models = str(folder / "models")
    job = emo_serve("batch", *arguments, "--models", models, "--shard-size", "10", "--processes", "2", **environment)
    _, errors = job.communicate(timeout=240)
    return job.returncode, errors


def objects(environment: dict[str, str], prefix: str) -> dict[str, str]:
    client = bucket(environment)
    found = client.list_objects_v2(Bucket="photos", Prefix=prefix).get("Contents", [])
    bodies = {entry["Key"]: client.get_object(Bucket="photos", Key=entry["Key"])["Body"].read() for entry in found}
    return {key.removeprefix(prefix): body.decode() for key, body in bodies.items()}


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_pictures_of_a_store_have_the_answers_of_the_same_files(
    store: tuple[Path, dict[str, str]], engine: str
) -> None:
    folder, environment = store
    out = folder / f"files-{engine}"
    assert batch(folder, {}, str(folder / "photos"), "--out", str(out))[0] == EXIT_OK
    arguments = ("s3://photos/of", "--out", f"s3://photos/{engine}", "--engine", engine)
    status, said = batch(folder, environment, *arguments)
    assert status == EXIT_OK, said
    found = objects(environment, f"{engine}/")
    assert sorted(found) == ["job.json", *(f"part-{shard:05d}-of-00003.jsonl" for shard in range(3))]
    for name in sorted(found)[1:]:
        assert found[name].replace("s3://photos/of/", f"{folder}/photos/") == (out / name).read_text()
    bucket(environment).delete_object(Bucket="photos", Key=f"{engine}/part-00001-of-00003.jsonl")
    assert batch(folder, environment, *arguments)[0] == EXIT_OK
    assert objects(environment, f"{engine}/") == found


def test_an_object_that_is_not_there_has_a_row_with_an_error(store: tuple[Path, dict[str, str]]) -> None:
    folder, environment = store
    status, said = batch(folder, environment, "s3://photos/list.txt", "--out", "s3://photos/listed")
    assert status == EXIT_OK, said
    first, second = objects(environment, "listed/part-")["00000-of-00001.jsonl"].splitlines()
    assert '"input":"of/0000.png","error":null' in first
    assert '"input":"s3://photos/of/none.png","error":"cannot be read: ' in second


def test_a_store_that_does_not_answer_ends_the_job_and_makes_no_rows(store: tuple[Path, dict[str, str]]) -> None:
    folder, environment = store
    listed = folder / "list.txt"
    listed.write_text("s3://photos/of/0000.png\n")
    nowhere = {**environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    status, said = batch(folder, nowhere, str(listed), "--out", str(folder / "nowhere"))
    assert status == EXIT_STARTUP
    assert "s3://photos/of/0000.png: " in said
    assert "Traceback" not in said
    assert not list((folder / "nowhere").glob("part-*"))
