"""Files that only their owner can read, as the commands demand of keys and passwords."""

from pathlib import Path


def write_private(path: Path, content: str | bytes) -> Path:
    """Write a file with mode 0600 and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path
