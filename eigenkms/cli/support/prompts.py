"""A question at the terminal that Ctrl-C can end.

No thread is left behind that reads.
"""

import os

import trio

from eigenkms.printable import printable

MAX_ANSWER_BYTES = 1024


async def confirm(question: str) -> bool | None:
    """Return whether the person at the terminal confirms; None without a terminal.

    Any answer but yes is a no, and so is the end of the input.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        os.write(terminal, f"{printable(question)} [y/N]: ".encode())
        await trio.lowlevel.wait_readable(terminal)
        answer = os.read(terminal, MAX_ANSWER_BYTES)
    finally:
        os.close(terminal)
    return answer.strip().lower() in (b"y", b"yes")
