"""A checkpoint goes in, a report card comes out, and every number on it can be trusted, explained, compared and gated.

ARCHITECTURE. Two towers on one foundation, under one roof. The measuring tower needs torch; the judging tower works without it.
They meet in `card` below and `cli` above. A module imports its package-mates and anything on a strictly lower storey:

    8  cli
    7  audit  study
    6  plan  execute
    5  probes
    4  workbench                      |  report
    3  checkpoints  data              |  compare  gate
    2  curvature  corruptions         |  metrics  store
    1                           card  stats
    0                             errors

What stands right of the bar, and all below it, imports no torch: a card is compared, gated and rendered on a machine without it.
"""

__version__ = "0.1.0"
