"""What does an audit leave behind? A run folder, each file of it written whole or not at all.

    RUN/report.json                the card, which holds the hash of the predictions
    RUN/predictions.safetensors    per-example columns of every view, so that two runs can be compared without their models
    RUN/report.sig                 a signature over these two, where `sharpaudit sign` made one
    RUN/timing.json                what differs from run to run: seconds, memory, what was reused
    RUN/parts/                     finished probes, each with the columns that no other had yet: what need not be done again
    RUN/state.json                 how far the run is, for those who look on
    RUN/.lock                      held by the process that is writing here

`files` writes, `runs` keeps cards with their columns, `parts` finished probes, `claim` keeps two processes apart.
"""

from __future__ import annotations

from sharpaudit.store.claim import Claim, State, check, claimed, state_of
from sharpaudit.store.files import check_file, check_folder, write
from sharpaudit.store.parts import Parts
from sharpaudit.store.runs import COLUMNS, REPORT, SIGNATURE, TIMING, Columns, Run, digest_of, load_run, save_run, sign_run

__all__ = [
    "COLUMNS",
    "REPORT",
    "SIGNATURE",
    "TIMING",
    "Claim",
    "Columns",
    "Parts",
    "Run",
    "State",
    "check",
    "check_file",
    "check_folder",
    "claimed",
    "digest_of",
    "load_run",
    "save_run",
    "sign_run",
    "state_of",
    "write",
]
