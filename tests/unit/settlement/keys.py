"""A signer with a fixed key: the one of the W3C test vectors."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gridbroker.settlement.data_integrity import from_base58

W3C_SECRET = "3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq"


class FixedSigner:
    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def w3c_signer() -> FixedSigner:
    return FixedSigner(from_base58(W3C_SECRET)[2:])
