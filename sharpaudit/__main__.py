"""The program `sharpaudit`, also as `python -m sharpaudit`: Ctrl-C ends it with 130 at any moment.

While it works, Ctrl-C is an exception, so that what was found is kept; before and after that there is nothing to keep.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in `typing`, which takes time to import

if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import NoReturn
else:
    import _signal as signal  # what is built into Python; the module around it takes time too

INTERRUPTED = 130


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


def run() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a background job
        signal.signal(signal.SIGINT, _leave)
    try:
        from sharpaudit.cli import main

        main()
    except KeyboardInterrupt:  # a second one, while the first was answered
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    run()
