"""Versions are signed, and where that is required only what a trusted key has signed is loaded."""

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from emo_serve.__main__ import main
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.engine.repository.signature import MAX_TRUST_BYTES, SIGNATURE_FILE, sign, verify_signature
from emo_serve.errors import InvalidSignature, StartupError
from emo_serve.settings import Settings
from tests.engine.reconciling import NAME, answering, catalog_of, root, versions
from tests.support import encode_image, plain, write_classifier

__all__ = ["root"]  # a fixture

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PrivateKey = ec.EllipticCurvePrivateKey
STRANGE_KEYS: dict[str, Callable[[], Key]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
}


def write_key(folder: Path, name: str = "key") -> tuple[Path, Path, PrivateKey]:
    """A new pair: the file of its private half, that of its public half, the key itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    return *write_halves(folder, name, key), key


def write_halves(folder: Path, name: str, key: Key) -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def write_certificate(path: Path, key: PrivateKey, issuer: PrivateKey, *, is_authority: bool) -> Path:
    today = dt.datetime.now(dt.UTC)
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("models", "root")]
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= {"crl_sign": is_authority, "key_cert_sign": is_authority, "encipher_only": False, "decipher_only": False}
    certificate = (
        x509.CertificateBuilder()
        .subject_name(names[is_authority])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(issuer, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_what_was_signed_is_accepted_and_can_be_signed_again(tmp_path: Path) -> None:
    private, public, _ = write_key(tmp_path)
    folder = write_classifier(tmp_path / "models")
    for _ in range(2):
        assert sign(folder, private) == folder / SIGNATURE_FILE
        assert read_artefact(folder, public).manifest.name == NAME


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is altered": (lambda folder: (folder / "labels.txt").write_text("other\n"), "Mismatch|mismatch"),
    "a file is added": (lambda folder: (folder / "more.bin").write_bytes(b""), "more.bin"),
    "a hidden file is added": (lambda folder: (folder / ".hidden").write_bytes(b""), ".hidden"),
    "a folder with a file is added": (lambda folder: write_classifier(folder / "inner"), "inner"),
    "a file is missing": (lambda folder: (folder / "labels.txt").unlink(), "labels.txt"),
    "there is no signature": (lambda folder: (folder / SIGNATURE_FILE).unlink(), "is not signed"),
    "the signature is empty": (lambda folder: (folder / SIGNATURE_FILE).write_bytes(b""), "no valid|not a valid"),
    "the signature is no bundle": (lambda folder: (folder / SIGNATURE_FILE).write_text('{"a": [1]}'), "not a valid"),
    "the signature is large": (lambda folder: (folder / SIGNATURE_FILE).write_bytes(bytes(2**21)), "larger than"),
    "a FIFO is added": (lambda folder: os.mkfifo(folder / "fifo"), "fifo: is neither"),
    "a link is added": (lambda folder: (folder / "link").symlink_to("/dev/zero"), "link: is neither"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_anything_else_than_what_was_signed_is_refused_and_named(tmp_path: Path, damage: str) -> None:
    private, public, _ = write_key(tmp_path)
    folder = write_classifier(tmp_path / "models")
    sign(folder, private)
    act, reason = DAMAGES[damage]
    act(folder)
    with pytest.raises(InvalidSignature, match=reason):
        read_artefact(folder, public)


def test_the_signature_of_another_key_or_of_another_folder_is_refused(tmp_path: Path) -> None:
    private, public, _ = write_key(tmp_path)
    other, _, _ = write_key(tmp_path, "other")
    first, second = write_classifier(tmp_path / "models"), write_classifier(tmp_path / "models", version="2")
    sign(first, other)
    with pytest.raises(InvalidSignature, match="not a valid signature"):
        verify_signature(first, public)
    signature = sign(first, private)
    (second / SIGNATURE_FILE).write_bytes(signature.read_bytes())
    with pytest.raises(InvalidSignature, match=r"manifest\.json"):
        verify_signature(second, public)


def test_a_certificate_is_trusted_as_far_as_it_leads_to_the_trusted_root(tmp_path: Path) -> None:
    private, _, key = write_key(tmp_path)
    _, _, authority = write_key(tmp_path, "authority")
    _, _, stranger = write_key(tmp_path, "stranger")
    trusted = write_certificate(tmp_path / "root.crt", authority, authority, is_authority=True)
    other = write_certificate(tmp_path / "other.crt", stranger, stranger, is_authority=True)
    leaf = write_certificate(tmp_path / "leaf.crt", key, authority, is_authority=False)
    folder = write_classifier(tmp_path / "models")
    sign(folder, private, (leaf, trusted))
    verify_signature(folder, trusted)
    with pytest.raises(InvalidSignature, match="not a valid signature"):
        verify_signature(folder, other)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        ("no key", "neither a public key nor"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key in PEM that can be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificates in PEM that can be"),
    ],
)
def test_a_trusted_file_without_a_key_is_the_fault_of_the_setting(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    if content:
        (tmp_path / "key.pub").write_text(content)
    with pytest.raises(StartupError, match=f"EMO_REQUIRE_SIGNATURE.*{reason}"):
        verify_signature(write_classifier(tmp_path), tmp_path / "key.pub")


@pytest.mark.parametrize("kind", STRANGE_KEYS)
def test_a_key_that_is_on_none_of_the_curves_is_refused_with_those_that_are_allowed(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _, _ = write_key(tmp_path)
    strange, trusted = write_halves(tmp_path, "strange", STRANGE_KEYS[kind]())
    folder = write_classifier(tmp_path / "models")
    sign(folder, private)
    said = f"holds a key of the kind {kind}; allowed are EC keys on the curves P-256, P-384, P-521"
    assert main(["sign", str(folder), "--key", str(strange)]) == 1
    assert capsys.readouterr().err == f"emo-serve: {strange}: {said}\n"
    monkeypatch.setenv("EMO_REQUIRE_SIGNATURE", str(trusted))
    (tmp_path / "photo.png").write_bytes(encode_image(plain("red")))
    for command in (
        ["predict", str(tmp_path / "photo.png")],
        ["batch", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out")],
        ["models"],
        ["doctor", "--port", "0"],
    ):
        assert main([*command, "--models", str(tmp_path / "models")]) == 1
        printed = capsys.readouterr()
        assert f"{trusted} (EMO_REQUIRE_SIGNATURE): {said}" in printed.out + printed.err


@pytest.mark.parametrize("option", ["--key", "--certificate"])
def test_only_files_that_end_are_read_to_sign_with(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    private, _, _ = write_key(tmp_path)
    folder = write_classifier(tmp_path / "models")
    large = tmp_path / "large.pem"
    large.write_bytes(bytes(MAX_TRUST_BYTES + 1))
    for path, reason in (("/dev/zero", "it is a device"), (str(large), "it is larger than")):
        assert main(["sign", str(folder), "--key", str(private), option, path]) == 1
        assert f"{path}: cannot be read: {reason}" in capsys.readouterr().err
    assert not (folder / SIGNATURE_FILE).exists()


def test_nothing_of_an_unsigned_version_is_parsed(tmp_path: Path) -> None:
    _, public, _ = write_key(tmp_path)
    folder = write_classifier(tmp_path / "models")
    (folder / "manifest.json").write_text("no JSON")
    preflight = Preflight(Settings(models=tmp_path / "models", require_signature=public))
    with pytest.raises(InvalidSignature, match="is not signed"):
        preflight.artefact(folder)
    assert preflight._process is None


@pytest.mark.anyio
async def test_an_unsigned_version_is_not_taken_into_service_until_it_is_signed(root: Path, tmp_path: Path) -> None:
    private, public, _ = write_key(tmp_path)
    sign(root / NAME / "1", private)
    async with catalog_of(root, require_signature=public) as catalog:
        folder = write_classifier(root, version="2")
        await catalog.reconcile()
        assert versions(catalog) == ["1"]
        assert "is not signed" in json.dumps([str(failure) for failure in catalog.failures.values()])
        sign(folder, private)
        await catalog.reconcile()
        assert (answering(catalog), list(catalog.failures)) == ("2", [])


def test_the_command_signs_every_folder_and_says_what_it_cannot_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public, _ = write_key(tmp_path)
    folders = [write_classifier(tmp_path / "models", version=version) for version in ("1", "2")]
    assert main(["sign", *map(str, folders), "--key", str(private)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / SIGNATURE_FILE) for folder in folders]
    for folder in folders:
        verify_signature(folder, public)
    assert main(["sign", str(folders[0]), "--key", str(public)]) == 1
    assert f"{public}: holds no private key without a password in PEM" in capsys.readouterr().err
    (folders[0] / "labels.txt").write_text("other\n")
    assert main(["sign", str(folders[0]), "--key", str(private)]) == 1
    assert "labels.txt" in capsys.readouterr().err
