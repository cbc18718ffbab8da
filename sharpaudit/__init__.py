"""A checkpoint goes in, a report card comes out, and every number on it can be trusted, explained, compared and gated.

ARCHITECTURE. Two towers on one foundation, under one roof. The measuring tower needs torch; the judging tower works without it.
They meet in `card` below and `cli` above. A module imports its package-mates and anything on a strictly lower storey:

    cli
    audit  study
    execute
    plan
    probes
    workbench                       |  report
    checkpoints  data               |  compare  gate
    curvature  corruptions  device  |  metrics  store
                               stats
                               card
                              errors

What stands right of the bar, and all below it, imports no torch: a card is compared, gated and rendered on a machine without it.
"""

__version__ = "0.1.0"
