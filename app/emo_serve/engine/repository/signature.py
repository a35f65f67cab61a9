"""Signatures of model versions, as OpenSSF Model Signing has them (the package ``model-signing``, an extra).

A signature is the file ``model.sig`` in the version's folder: a Sigstore bundle whose statement lists the digest of
every other file there. It is checked before any of these files is parsed.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from emo_serve.errors import InvalidSignature, StartupError
from emo_serve.files import read_regular

SIGNATURE_FILE = "model.sig"
MAX_SIGNATURE_BYTES = 1024 * 1024
MAX_TRUST_BYTES = 1024 * 1024
_MISSING = "signatures need the package model-signing: pip install 'emo-serve[signing]'"
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

T = TypeVar("T")


def verify_signature(folder: Path, trusted: Path) -> None:
    """Check that the folder holds what the owner of the key or certificate in ``trusted`` signed, and no other file.

    ``trusted`` is a PEM file: a public key on the curve P-256, P-384 or P-521, or the certificates of a chain up to its
    root. Raises InvalidSignature, which says what is wrong with the version, and StartupError for ``trusted``.
    """
    try:
        from model_signing import verifying  # noqa: PLC0415  # an extra, slow to import
    except ModuleNotFoundError as error:
        raise StartupError(_MISSING) from error
    kind = _kind_of(trusted)
    path = folder / SIGNATURE_FILE
    try:
        read_regular(path, MAX_SIGNATURE_BYTES)
    except FileNotFoundError as error:
        msg = f"{folder}: is not signed, and only signed versions are served (EMO_REQUIRE_SIGNATURE)"
        raise InvalidSignature(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise InvalidSignature(msg) from error
    _check_regular(folder)
    config = verifying.Config()  # type: ignore[no-untyped-call]
    if kind == "CERTIFICATE":
        config.use_certificate_verifier(certificate_chain=[trusted])
    else:
        config.use_elliptic_key_verifier(public_key=trusted)
    try:
        config.verify(folder, path)
    except Exception as error:  # the package raises whatever the bundle makes its parsers raise
        msg = f"{path}: is not a valid signature of this folder by {trusted}: {_reason(error)}"
        raise InvalidSignature(msg) from error


def sign(folder: Path, key: Path, certificates: tuple[Path, ...] = ()) -> Path:
    """Sign all files of the folder, replacing an old signature, and return the file that holds the new one.

    ``key`` is a PEM file with an unencrypted private key on one of the curves above; the first of ``certificates`` is
    that of the key, the others lead from it to a root. Raises StartupError.
    """
    try:
        from model_signing import hashing, signing  # noqa: PLC0415  # an extra, slow to import
    except ModuleNotFoundError as error:
        raise StartupError(_MISSING) from error
    _check_signer(key, certificates)
    path = folder / SIGNATURE_FILE
    _check_regular(folder)
    everything_else = hashing.Config()  # type: ignore[no-untyped-call]
    everything_else.set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)
    config = signing.Config().set_hashing_config(everything_else)  # type: ignore[no-untyped-call]
    try:
        if certificates:
            leaf, *others = certificates
            config.use_certificate_signer(private_key=key, signing_certificate=leaf, certificate_chain=others)
        else:
            config.use_elliptic_key_signer(private_key=key)
        config.sign(folder, path)
    except Exception as error:  # as above
        msg = f"{folder}: cannot be signed with {key}: {_reason(error)}"
        raise StartupError(msg) from error
    return path


def _kind_of(trusted: Path) -> str:
    """What the file holds, CERTIFICATE or PUBLIC KEY; raises StartupError if that cannot be trusted with anything."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  # of the extra
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415  # as above

    called = f"{trusted} (EMO_REQUIRE_SIGNATURE)"
    text = _read(trusted, called)
    if b"-----BEGIN CERTIFICATE-----" in text:
        _parsed(text, called, load_pem_x509_certificates, "certificates")
        return "CERTIFICATE"
    if b"PUBLIC KEY-----" in text:
        _check_curve(called, _parsed(text, called, load_pem_public_key, "public key"))
        return "PUBLIC KEY"
    msg = f"{called}: holds neither a public key nor certificates in PEM"
    raise StartupError(msg)


def _check_signer(key: Path, certificates: tuple[Path, ...]) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  # of the extra
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415  # as above

    called, what = str(key), "private key without a password"
    _check_curve(called, _parsed(_read(key, called), called, lambda text: load_pem_private_key(text, None), what))
    for path in certificates:
        _parsed(_read(path, str(path)), str(path), load_pem_x509_certificates, "certificates")


def _read(path: Path, called: str) -> bytes:
    try:
        return read_regular(path, MAX_TRUST_BYTES)
    except OSError as error:
        msg = f"{called}: cannot be read: {error.strerror}"
        raise StartupError(msg) from error


def _parsed(text: bytes, called: str, parse: Callable[[bytes], T], what: str) -> T:
    try:
        return parse(text)
    except Exception as error:  # ValueError, TypeError, and errors of the package's own
        msg = f"{called}: holds no {what} in PEM that can be read"
        raise StartupError(msg) from error


def _check_curve(called: str, key: object) -> None:
    """Refuse keys that no signature can be made or checked with."""
    found = getattr(getattr(key, "curve", None), "name", None)
    if found not in _CURVES:
        kind = found or type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey")
        msg = (
            f"{called}: holds a key of the kind {kind}; allowed are EC keys on the curves {', '.join(_CURVES.values())}"
        )
        raise StartupError(msg)


def _check_regular(folder: Path) -> None:
    """Refuse what could be read for ever, or from elsewhere."""
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            msg = f"{path}: is neither a file nor a folder, and nothing else can be signed"
            raise InvalidSignature(msg)


def _reason(error: Exception) -> str:
    return " ".join((str(error) or repr(error)).split())[:500]
