"""Identifiers: time-ordered UUIDs for rows, derived UUIDs for effects that must happen once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f1f64a2-5b0e-5d0f-9f7a-3f6a2c1d9e47")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7(at: datetime, random_bits: int) -> UUID:
    """UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 of the given random bits."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | ((random_bits >> 62) & 0xFFF) << 64
    value |= 0b10 << 62 | (random_bits & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=value)


def derive(kind: str, *parts: object) -> UUID:
    """The same UUID for the same kind and parts, for ever: the key of an effect that must not happen twice."""
    return uuid5(_NAMESPACE, ":".join([kind, *map(str, parts)]))
