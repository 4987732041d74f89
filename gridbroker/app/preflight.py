"""What must hold before anything is started, each with its own error."""

import errno
import os
import socket
import tempfile
from pathlib import Path

from gridbroker.core.errors import Conflict, Unavailable


class DataDirUnwritable(Unavailable):
    code, title = "data_dir_unwritable", "The data folder cannot be written"


class PortInUse(Conflict):
    code, title = "port_in_use", "Another program listens on this port"


class PortUnusable(Unavailable):
    code, title = "port_unusable", "This address cannot be listened on"


def require_writable(data_dir: Path) -> None:
    """Make the folder when it is not there, and prove that files can be made in it. Raises DataDirUnwritable."""
    try:
        if not data_dir.exists():
            # As root, PostgreSQL may have to run as nobody, who must be able to pass through.
            data_dir.mkdir(parents=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(b"\0")
    except OSError as error:
        raise DataDirUnwritable(
            f"{data_dir}: {error.strerror}. Set GRIDBROKER_DATA_DIR to a folder that you may write to."
        ) from error


def require_free_port(host: str, port: int) -> None:
    """Raises PortInUse, or PortUnusable when it is not ours to listen on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what it leaves in TIME_WAIT does not count
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"{host}:{port} is taken. Stop that program, or set GRIDBROKER_API_PORT to another port.") from None
        raise PortUnusable(f"{host}:{port}: {error.strerror}. Correct GRIDBROKER_API_HOST or GRIDBROKER_API_PORT.") from error
