"""Sans-IO state machines, and the records that third parties check.

Nothing here knows trio, sockets, clocks, storage or the operating system. Events, the current time and a random
source go in; effects come out (``effects``). ``docs/protocol.md`` is the specification; every module names its section.
"""
