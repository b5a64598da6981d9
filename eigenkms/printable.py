"""Make foreign text visible, so that no terminal and no log reader obeys it.

Text from an RPC, an operator, the chain, a file's name or an HTTP answer may hold

- escape sequences, which set a window's title or the clipboard (xterm, OSC 0 and 52), and their 8-bit forms (C1 controls),
- marks that change the direction of reading (CVE-2021-42574),
- the end of a line, and then a line that looks like one of this program.

A check at each source is forgotten at the next source. So the modules that write text for a person call ``printable`` when they
write: of ``cli.support`` the modules ``output`` (notes, errors, hints, results), ``tables``, ``progress``, ``prompts``,
``passwords`` and ``logs``, and ``cli.anchor`` and ``devnet.console``. A test refuses other ways to a terminal. Data, such as a
plaintext or JSON, is written to the byte.
"""

import unicodedata


def printable(text: str) -> str:
    """Return one line of visible characters.

    Controls, marks of direction, ends of lines and lone surrogates become Python's escapes.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char.isprintable() or unicodedata.category(char) == "Zs":  # other spaces than " " are harmless
        return char
    return char.encode("unicode_escape").decode("ascii")
