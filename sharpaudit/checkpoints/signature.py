"""Who signed the checkpoint? Whoever signed ``model.sig`` beside it, if that is of the bytes that were read.

It is a signature of the OpenSSF's model-signing, over the one file or over a folder; of a folder the files that were read count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sharpaudit import signatures
from sharpaudit.card import Signature
from sharpaudit.errors import UnsafeInput, clean

NAME = "model.sig"
ITSELF = "."
"""What a signature over one file calls it."""


def signature_of(path: Path, read: Mapping[str, str], trusted: Sequence[signatures.PublicKey] | None) -> Signature | None:
    """What the card says of the signature beside the checkpoint at `path`; None where there is none.

    Args:
        path: the checkpoint, a file or a folder.
        read: name → SHA-256 of its files that were read.
        trusted: the keys one of which must have signed them; None asks for no signature.

    Raises:
        UnsafeInput: none of them has.
    """
    path = Path(str(path).removeprefix("local-dir:"))
    place = (path if os.path.isdir(path) else path.parent) / NAME  # noqa: PTH112 - unlike Path.is_dir it raises for no name
    if trusted is None:
        return Signature(verified=False) if os.path.lexists(place) else None
    how = f"`model_signing sign key` makes {NAME}, for someone you trust"
    signed = signatures.verified(place, trusted, whose="the checkpoint", how=how)
    alone = signed.files.get(ITSELF) if len(read) == 1 else None
    for name, digest in read.items():
        if (alone or signed.files.get(name)) != digest:
            message = f"'{clean(name)}' is not what {signed.key} signed: it was changed since, or added"
            raise UnsafeInput(message, path=str(place), hint=how)
    return Signature(verified=True, key=signed.key.fingerprint)
