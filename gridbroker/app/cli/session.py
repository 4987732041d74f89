"""A client for the server and key that flags, environment and configuration file name."""

from typing import TYPE_CHECKING, Any

from gridbroker.app.cli.config import require_key, resolve
from gridbroker.core.errors import Invalid

if TYPE_CHECKING:
    from gridbroker_sdk import Client

MAX_RETRIES = 2
"""A person waits; the commands that poll bring patience of their own."""


class BadAddress(Invalid):
    code, title = "bad_address", "The server's address or the key cannot be used"


def connect(profile: str, url: str | None, **options: Any) -> "Client":
    """Raises NoKey when there is no key for the server."""
    found = resolve(profile, url)
    return client(found.url, require_key(found), **options)


def client(url: str, key: str, *, max_retries: int = MAX_RETRIES) -> "Client":
    """Raises BadAddress, never showing the key."""
    from gridbroker_sdk import Client  # noqa: PLC0415 - what works offline must not load an HTTP client

    try:
        return Client(url, key, max_retries=max_retries)
    except ValueError as error:
        raise BadAddress(f"{error}.") from None
