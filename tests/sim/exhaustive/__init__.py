"""All schedules of a small cluster, walked to the end with the real machines of protocol 2.

Four operators, of which one is Byzantine, rotate one key on the toy curves: ``scene`` has what no schedule changes, ``life`` one
correct operator with its disk, ``moves`` what can happen to it, ``table`` what each move makes of it (``fingerprint`` says which
lives are the same), ``walk`` all combinations, ``laws`` what must hold at each point, and ``calm`` whether the correct operators go
on from a point without the liar.

*Covered*, within a ``walk.Bound``: one or two sessions of up to three views; any loss and any delay of certificates, proposals,
dealings and rows; a liar that votes for everything, leads every view and shows each operator something else; a crash between any
two durable writes; an absence. The laws: no operator says two things in one slot; one session certifies one transcript; certified
versions descend from each other; enough correct operators have, or can still get, their shares of what is certified or may be.

*Not covered*: a set of operators that changes, newcomers, a genesis; dealings that are invalid; clocks, but for which timer fires
before what comes; a disk that loses what was durable; more than four operators, and longer runs. Random stories
(``tests.sim.test_stories``) tell of most of these.

*Why less than all interleavings is enough*: see ``walk`` for rounds and symmetry, and ``moves`` for votes. Tests compare rounds and
symmetry with walks that do without. Nothing but the bound ends a walk, and the tests state how many states it has.
"""
