"""The table of ImageNet's classes, and which groups a model gets from it or from a file."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from emo.__main__ import main
from emo.export.checkpoint_import import usual_labels
from emo.export.groups import IMAGENET_GROUPS, choose_groups
from emo_serve.errors import InvalidManifest
from emo_serve.labels import read_labels
from emo_serve.manifest import read_manifest

ROOT = Path(__file__).parents[2]
with IMAGENET_GROUPS.open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
CLASSES = [row for row in ROWS if row["wnid"]]
GROUP_OF = {row["name"]: row["group"] for row in ROWS}


def test_every_class_of_imagenet_is_there_once_in_its_order() -> None:
    assert [row["index"] for row in CLASSES] == [str(index) for index in range(1000)]
    ids = [row["wnid"] for row in CLASSES]
    assert ids == sorted(set(ids))  # the order of ILSVRC2012 is that of the ids
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdecimal() for wnid in ids)
    assert (ids[0], ids[281], ids[999]) == ("n01440764", "n02123045", "n15075141")
    assert tuple(row["name"] for row in CLASSES) == usual_labels("classify", 1000)


def test_names_are_told_apart_without_their_case() -> None:
    assert len({row["name"].casefold() for row in ROWS}) == len(ROWS)


def test_there_are_40_to_60_groups_and_every_class_is_in_one() -> None:
    assert all(row["group"] for row in ROWS)
    assert 40 <= len(set(GROUP_OF.values())) <= 60


def test_people_are_in_a_group_of_their_own() -> None:
    people = {name for name, group in GROUP_OF.items() if group == GROUP_OF["person"]}
    assert people == {"person", "baseball player", "groom", "scuba diver"}
    assert {GROUP_OF[name] for name in ("gorilla", "chimpanzee", "baboon", "orangutan")} == {"monkey or ape"}


def test_the_classes_of_the_models_in_this_repository_have_groups() -> None:
    for folder in (ROOT / "models").glob("*/*"):
        if read_manifest(folder / "manifest.json").task == "classify":
            labels = read_labels(folder / "labels.txt")
            assert not set(labels) - set(GROUP_OF)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("cat", "tabby, tiger cat, Persian cat, Siamese cat, Egyptian cat"),
        ("wild cat", "lion, tiger, leopard, cheetah, cougar, lynx, jaguar, snow leopard"),
        ("dog", "Chihuahua, golden retriever, pug, Cardigan Welsh corgi, standard poodle, boxer (dog)"),
        ("wolf or fox", "timber wolf, red fox, coyote"),
        ("bear", "brown bear, polar bear, giant panda"),
        ("bird", "robin, kite (bird), crane (bird), drake, king penguin, ostrich, rooster"),
        ("fish", "goldfish, great white shark, stingray"),
        ("aircraft", "airliner, warplane, airship"),
        ("train", "steam locomotive, bullet train, streetcar"),
        ("car", "sports car, convertible, minivan, taxi, beach wagon, limousine, jeep, race car, car"),
        ("truck", "pickup, garbage truck, fire engine, moving van, trailer truck, truck"),
        ("bus", "school bus, trolleybus, minibus, bus"),
        ("motorcycle", "moped, motor scooter, motorcycle"),
        ("bicycle", "mountain bike, bicycle-built-for-two"),
        ("boat", "speedboat, canoe, pirate ship, submarine, aircraft carrier"),
        ("food", "hotdog, pizza, cheeseburger, ice cream"),
        ("fruit", "banana, orange, Granny Smith"),
        ("vegetable", "broccoli, bell pepper, acorn squash"),
        ("clothing", "bow tie, cardigan, maillot, tank suit, kimono"),
        ("computer or electronics", "computer mouse, monitor, laptop, television"),
        ("tool", "nail, hammer, carpenter's plane"),
        ("phone", "cellular telephone, dial telephone, pay-phone"),
        ("landscape", "alp, seashore, volcano"),
    ],
)
def test_classes_are_in_the_groups_that_people_expect(group: str, names: str) -> None:
    assert {GROUP_OF[name] for name in names.split(", ")} == {group}


def test_groups_are_even_enough_to_say_something() -> None:
    members = defaultdict(list)
    for name, group in GROUP_OF.items():
        members[group].append(name)
    assert max(members, key=lambda group: len(members[group])) == "dog"
    assert all(len(names) < 130 for names in members.values())


def test_the_table_is_for_classifiers_all_of_whose_classes_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_groups("classify", ("tabby", "person", "pug")) == ("cat", "person", "dog")
    assert "groups: 3, of ImageNet" in capsys.readouterr().out
    assert choose_groups("classify", ("tabby", "my cat")) is None
    assert choose_groups("detect", ("tabby", "person")) is None
    assert choose_groups("segment", ("tabby", "person")) is None


def test_a_table_of_ones_own_has_to_know_all_classes_of_a_classifier(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("name,group\nmy cat,pet\ntabby,pet\n")
    assert choose_groups("classify", ("tabby", "my cat"), table) == ("pet", "pet")
    with pytest.raises(InvalidManifest, match=r"mine\.csv: has no group for 1 of the 2 classes: 'pug'"):
        choose_groups("classify", ("tabby", "pug"), table)
    with pytest.raises(ValueError, match="only the classes of a classifier have groups, and this model is to detect"):
        choose_groups("detect", ("tabby", "my cat"), table)


@pytest.mark.usefixtures("quick_export")
def test_an_import_writes_the_groups_of_imagenet_or_of_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("name,group\n" + "".join(f'"{name}",{len(name)} letters\n' for name in GROUP_OF))
    checkpoint = ROOT / "checkpoints" / "emo-1m.pt"
    command = ["import", str(checkpoint), "--name", "a", "--models", str(tmp_path), "--side", "32"]
    assert main(command) == 0
    labels = read_labels(tmp_path / "a" / "1" / "labels.txt")
    assert read_manifest(tmp_path / "a" / "1" / "manifest.json").groups == tuple(GROUP_OF[name] for name in labels)
    assert main([*command, "--groups", str(table), "--version", "2"]) == 0
    written = read_manifest(tmp_path / "a" / "2" / "manifest.json").groups
    assert written == tuple(f"{len(name)} letters" for name in labels)
    table.write_text("name,group\n")
    with pytest.raises(SystemExit):
        main([*command, "--groups", str(table), "--version", "3"])
    assert f"has no group for {len(labels)} of the {len(labels)} classes" in capsys.readouterr().err
    assert not (tmp_path / "a" / "3").exists()
