"""`sharpaudit sign`: a detached signature over a run, for those who have to believe it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sharpaudit.cli.app import app
from sharpaudit.errors import clean


@app.command()
def sign(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key in PEM, on P-256, P-384 or P-521.")],
) -> None:
    """Sign a run, for `gate --trusted-keys`.

    Writes RUN/report.sig, a signature over the card and the predictions.
    """
    from sharpaudit import store

    fingerprint = store.sign_run(run, key)
    print(f"{clean(str(run / store.SIGNATURE), 500)}: signed with the key of SHA-256 {fingerprint}")
