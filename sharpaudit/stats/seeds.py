"""Which random choices are the same in two audits? All of the same audit seed, probe and purpose, whatever the checkpoint."""

from __future__ import annotations

import hashlib


def seed_for(audit_seed: int, probe: str, purpose: str) -> int:
    """A 63-bit seed."""
    key = f"{audit_seed}/{probe}/{purpose}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1
