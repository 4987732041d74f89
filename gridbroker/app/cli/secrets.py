"""Secrets that an answer holds once: to stdout alone, so that they can be piped and words cannot mix in."""

from collections.abc import Mapping
from typing import Any

from gridbroker.app.cli import output
from gridbroker.core.errors import Conflict


class SecretLost(Conflict):
    code, title = "secret_lost", "It was created, but its secret was lost on the way here"


def show_once(created: Mapping[str, Any], field: str, *, as_json: bool, retry: str) -> None:
    """Print the secret; as JSON within its document. Raises SecretLost when the answer is the replay of one that never came."""
    if created.get(field) is None:
        raise SecretLost(f"Make another: {retry}.")
    if as_json:
        output.put_json(created)
    else:
        output.put(created[field])
        output.say("This is the only time that it is shown.")
