"""Addresses that a server of this machine listens on."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An address of this machine and a port, 0 for any free one."""

    host: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> "HttpAddress":
        """Parse ``127.0.0.1:8000`` or ``[::1]:8000``. Raises ``ValueError``."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            address = None
        fits = isinstance(address, IPv6Address) == bracketed
        if address is None or not colon or not fits or not (port.isascii() and port.isdecimal()):
            raise ValueError(
                f"{text[:60]!r} is not an IP address and a port, such as 127.0.0.1:8000 or [::1]:8000"
            )
        if int(port[:6]) > 65535:
            raise ValueError(f"port {port[:12]} is not in 0..65535")
        return cls(address, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        return f"{host}:{self.port}"
