"""The messages of gRPC: what is committed is what the .proto files say, and what other implementations say."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import tritonclient.grpc.service_pb2  # noqa: F401  puts its messages into the default pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import Default, DescriptorPool

from tests.helpers.shipped import ROOT

PROTOCOLS = ROOT / "app/emo_serve/api/protocols"
COMMITTED = FileDescriptorSet.FromString((PROTOCOLS / "grpc_descriptors.binpb").read_bytes())


def test_the_descriptors_are_those_of_the_proto_files(tmp_path: Path) -> None:
    made = tmp_path / "made"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOCOLS}", f"--descriptor_set_out={made}"]
    subprocess.run([*command, "open_inference.proto", "health.proto"], check=True)
    assert FileDescriptorSet.FromString(made.read_bytes()) == COMMITTED, "make protos"


def messages(found: Descriptor) -> Iterator[Descriptor]:
    yield found
    for inner in found.nested_types:
        yield from messages(inner)


def test_every_field_has_the_number_and_the_type_that_triton_gives_it() -> None:
    pool = DescriptorPool()
    for file in COMMITTED.file:
        pool.Add(file)
    compared = 0
    for top in pool.FindFileByName("open_inference.proto").message_types_by_name.values():
        for own in messages(top):
            theirs = Default().FindMessageTypeByName(own.full_name).fields_by_name
            for field in own.fields:
                other = theirs[field.name]
                assert (other.number, other.type, other.is_repeated) == (field.number, field.type, field.is_repeated)
                compared += 1
    assert compared > 100
