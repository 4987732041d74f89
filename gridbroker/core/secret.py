"""Secrets that people and agents carry: made from the system's randomness, stored only as hashes.

The alphabet leaves out 0 O I l 1, which people confuse. 59 characters of 57 letters and digits hold 344 random bits; with that
much randomness a plain SHA-256 is enough, a slow hash would add nothing.
"""

import hashlib
import re
import secrets

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SECRET_CHARS = 59
PREFIX_CHARS = 8
_FORM = re.compile(rf"(gridbroker_[a-z]+_[{ALPHABET}]{{{PREFIX_CHARS}}})_[{ALPHABET}]{{{SECRET_CHARS}}}")


def new_secret(kind: str) -> str:
    """`gridbroker_<kind>_<8 characters>_<59 characters>`; the first three parts are the prefix that may be shown again."""
    return f"gridbroker_{kind}_{_letters(PREFIX_CHARS)}_{_letters(SECRET_CHARS)}"


def prefix_of(secret: str) -> str | None:
    """The public part of a well-formed secret, or None."""
    found = _FORM.fullmatch(secret)
    return found[1] if found else None


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _letters(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))
