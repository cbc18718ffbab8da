"""Who vouches for these files? A detached signature by a key pair, in the format of the OpenSSF's model-signing.

It lists files with their SHA-256. A run's lies beside its card, a checkpoint's beside the weights; `model_signing` makes and
verifies the same ones. Its public functions hash files by path, which may meanwhile be others than those that were read: here the
bytes are hashed as they are read, so the layer below those functions is used, and the version of the package is bounded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sharpaudit import files, strict_json
from sharpaudit.errors import EnvironmentFailure, UnsafeInput, UsageError, clean

MAX_SIGNATURE_BYTES = 4 * 2**20
"""A listed file takes 200."""
MAX_KEY_BYTES = 2**14
MAX_KEYS = 1000

SHA256 = "sha256"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
NEW_PAIR = "openssl ecparam -name prime256v1 -genkey -noout -out KEY; openssl ec -in KEY -pubout -out KEY.pub"
PUBLIC_HALF = "openssl ec -in KEY -pubout -out KEY.pub writes the public half"


@dataclass(frozen=True)
class PublicKey:
    """A key whose signatures are believed."""

    name: str
    """Of its file."""
    pem: bytes
    fingerprint: str
    """SHA-256 of it as PEM, by which a signature names its key."""

    def __str__(self) -> str:
        """As it is shown to people."""
        return f"{clean(self.name)} (SHA-256 {self.fingerprint[:16]})"


@dataclass(frozen=True)
class Signed:
    """What a signature vouches for, once it is verified."""

    key: PublicKey
    files: Mapping[str, str]
    """Name → SHA-256."""


def read_keys(path: Path) -> list[PublicKey]:
    """The public keys in the file `path`, or in the files of the folder `path`.

    Raises:
        UsageError: there is none, or something else than a public key on one of the curves.
        UnsafeInput: a pipe or a device.
        EnvironmentFailure: the package is not installed.
    """
    try:
        in_folder = os.path.isdir(path)  # noqa: PTH112 - unlike Path.is_dir it raises for no name
        names = sorted(name for name in os.listdir(path) if not name.startswith(".")) if in_folder else [""]  # noqa: PTH208
    except OSError as error:
        raise UsageError(f"cannot read the folder of keys: {error.strerror}", path=str(path)) from error
    if not names or len(names) > MAX_KEYS:
        raise UsageError(f"expected 1 to {MAX_KEYS:,} public keys, got {len(names):,} files", path=str(path), hint=NEW_PAIR)
    return [_public_key(path / name) for name in names]


def _public_key(path: Path) -> PublicKey:
    data = _key_bytes(path)
    if b"PRIVATE KEY" in data:
        raise UsageError("a private key, and no secret is needed to verify", path=str(path), hint=PUBLIC_HALF)
    with _package():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    try:
        key: Any = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("not a public key in PEM", path=str(path), hint=NEW_PAIR) from error
    _require_curve(key, path)
    pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(path.name, pem, hashlib.sha256(pem).hexdigest())


def _key_bytes(path: Path) -> bytes:
    try:
        return files.read(path, most=MAX_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the key: {error.strerror}", path=str(path)) from error


def _require_curve(key: Any, path: Path) -> None:
    found = getattr(getattr(key, "curve", None), "name", type(key).__name__)
    if found not in CURVES:
        raise UsageError(f"expected a key on P-256, P-384 or P-521, got {found}", path=str(path), hint=NEW_PAIR)


def sign(hashes: Mapping[str, str], key: Path, *, what: str) -> tuple[bytes, str]:
    """A signature over the files whose SHA-256 are `hashes`, made with a private key, and the key's fingerprint.

    Raises:
        UsageError: the file `key` holds no private key on one of the curves, or an encrypted one.
        EnvironmentFailure: the package is not installed.
    """
    data = _key_bytes(key)
    with _package():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from model_signing import manifest
        from model_signing._hashing.hashing import Digest
        from model_signing._signing import sign_ec_key, signing
    if b"PUBLIC KEY" in data:
        raise UsageError("a public key: signing takes the private one", path=str(key), hint=NEW_PAIR)
    try:
        _require_curve(serialization.load_pem_private_key(data, None), key)
        signer = sign_ec_key.Signer(key)
    except TypeError as error:  # it has a password
        hint = "decrypt it for the signing, or sign the run with `model_signing sign key`"
        raise UsageError("the private key is encrypted", path=str(key), hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("not a private key in PEM", path=str(key), hint=NEW_PAIR) from error
    listed = manifest.Manifest(
        what,
        [
            manifest.FileManifestItem(path=PurePosixPath(name), digest=Digest(SHA256, bytes.fromhex(digest)))
            for name, digest in hashes.items()
        ],
        manifest.SerializationType.from_args({"method": "files", "hash_type": SHA256, "allow_symlinks": False}),
    )
    bundle = signer.sign(signing.Payload(listed)).bundle
    return bundle.to_json().encode(), str(bundle.verification_material.public_key.hint)


def verified(path: Path, keys: Sequence[PublicKey], *, whose: str, how: str) -> Signed:
    """What the signature at `path` vouches for.

    Args:
        path: the signature.
        keys: whose signatures are believed.
        whose: what it is about, for messages.
        how: what to do where it has none or a wrong one.

    Raises:
        UnsafeInput: it is missing, made with another key, damaged, or not by a key pair.
        EnvironmentFailure: the package is not installed.
    """
    if not os.path.lexists(path):
        raise UnsafeInput(f"{whose} is not signed", path=str(path), hint=how)
    try:
        data = files.read(path, most=MAX_SIGNATURE_BYTES)
        document = strict_json.load(data)
        named = document["verificationMaterial"]["publicKey"]["hint"]
    except OSError as error:
        raise UnsafeInput(f"cannot read the signature of {whose}: {error.strerror}", path=str(path), hint=how) from error
    except ValueError as error:
        raise UnsafeInput(f"not a signature: {clean(str(error))}", path=str(path), hint=how) from error
    except (KeyError, TypeError) as error:
        raise UnsafeInput(f"{whose} is not signed with a key pair", path=str(path), hint=how) from error
    key = next((key for key in keys if key.fingerprint == named), None)
    if key is None:
        trusted = f"none of the {len(keys)} trusted ones" if len(keys) > 1 else f"not {keys[0]}"
        raise UnsafeInput(f"{whose} is signed with a key that is {trusted}", path=str(path), hint=how)
    listed = _listed(data, key)
    if listed is None:
        raise UnsafeInput(f"the signature of {whose} was not made with {key}, or was damaged", path=str(path), hint=how)
    return Signed(key, listed)


def _listed(signature: bytes, key: PublicKey) -> dict[str, str] | None:
    """The files that `key` signed, with their hashes; None where it did not."""
    with _package():
        from cryptography.exceptions import InvalidSignature
        from model_signing._signing import sign_ec_key, sign_sigstore_pb
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("key", key.pem), ("signature", signature)):
            (Path(folder) / name).write_bytes(content)
        try:
            bundle = sign_sigstore_pb.Signature.read(Path(folder) / "signature")
            listed = sign_ec_key.Verifier(Path(folder) / "key").verify(bundle)
        except (InvalidSignature, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None  # the package has no error of its own for a document of another shape
    return {each.identifier: each.digest.digest_hex for each in listed.resource_descriptors() if each.digest.algorithm == SHA256}


@contextmanager
def _package() -> Iterator[None]:
    """Where the package is imported: it is an extra."""
    try:
        yield
    except ImportError as error:
        raise EnvironmentFailure(
            f"signatures need model-signing: {clean(str(error))}",
            hint="pip install 'sharpaudit[signing]', or '.[signing]' in a clone",
        ) from error
