"""Free TCP ports on this machine.

Below the ephemeral range on purpose: while a server is down, a client that retries from an ephemeral port may connect to itself
and so take the port away.
"""

import secrets
import socket

from gridbroker.core.errors import Unavailable

LOWEST_PORT = 20_000
HIGHEST_PORT = 32_000
ATTEMPTS = 50


class NoFreePort(Unavailable):
    code, title = "no_free_port", "No free port was found"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listened on a moment ago. Another process may still take it first: be ready to ask again."""
    for _ in range(ATTEMPTS):
        port = LOWEST_PORT + secrets.randbelow(HIGHEST_PORT - LOWEST_PORT)
        if is_free(host, port):
            return port
    raise NoFreePort(f"Tried {ATTEMPTS} ports between {LOWEST_PORT} and {HIGHEST_PORT} on {host}.")


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be listened on
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
