"""Signed JSON: W3C Data Integrity proofs with the cryptosuite `eddsa-jcs-2022`, and Ed25519 keys as `did:key`.

Data Integrity EdDSA Cryptosuites v1.0 (W3C Recommendation, 15 May 2025), section 3.3. The document and the proof's options are
canonicalised (RFC 8785), each hashed with SHA-256, and the two hashes signed.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CRYPTOSUITE = "eddsa-jcs-2022"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519_PUBLIC = b"\xed\x01"
"""Multicodec prefix of an Ed25519 public key."""
_MAX_BASE58_CHARS = 128


class BadProof(ValueError):
    """The proof is missing, malformed, of another kind, or does not fit the document."""


class Signer(Protocol):
    """A holder of an Ed25519 key."""

    @property
    def public_key(self) -> bytes:
        """32 raw bytes."""
        ...

    def sign(self, message: bytes) -> bytes: ...


def canonical(value: Any) -> bytes:
    """RFC 8785 form. Raises ValueError for what JSON cannot say exactly, such as integers beyond 2^53."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from None


def add_proof(document: Mapping[str, Any], signer: Signer, created: str) -> dict[str, Any]:
    """The document with a proof by the signer's key; `created` is an RFC 3339 time."""
    options = {
        "type": "DataIntegrityProof",
        "cryptosuite": CRYPTOSUITE,
        "created": created,
        "verificationMethod": verification_method(signer.public_key),
        "proofPurpose": "assertionMethod",
    }
    if "@context" in document:
        options["@context"] = document["@context"]
    signature = signer.sign(_hash_data(document, options))
    return {**document, "proof": {**options, "proofValue": "z" + base58(signature)}}


def check_proof(secured: Mapping[str, Any]) -> bytes:
    """The public key that signed the document. Raises BadProof unless its proof holds."""
    proof = secured.get("proof")
    if not isinstance(proof, dict):
        raise BadProof("there is no proof")
    document = {name: value for name, value in secured.items() if name != "proof"}
    given = cast("dict[str, Any]", proof)
    options = {name: value for name, value in given.items() if name != "proofValue"}
    if options.get("type") != "DataIntegrityProof" or options.get("cryptosuite") != CRYPTOSUITE:
        raise BadProof(f"the proof is not a DataIntegrityProof with {CRYPTOSUITE}")
    if options.get("proofPurpose") != "assertionMethod":
        raise BadProof("the proof's purpose is not assertionMethod")
    if options.get("@context") != document.get("@context"):
        raise BadProof("the proof was made for another @context")
    key = key_of_method(options.get("verificationMethod"))
    _check_signature(key, given.get("proofValue"), _hash_data(document, options))
    return key


def _check_signature(key: bytes, proof_value: object, message: bytes) -> None:
    if not isinstance(proof_value, str) or not proof_value.startswith("z"):
        raise BadProof("the proof value is not base58-btc multibase")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(from_base58(proof_value[1:]), message)
    except (InvalidSignature, ValueError):
        raise BadProof("the signature does not fit the document") from None


def _hash_data(document: Mapping[str, Any], options: Mapping[str, Any]) -> bytes:
    try:
        return hashlib.sha256(canonical(options)).digest() + hashlib.sha256(canonical(document)).digest()
    except (ValueError, RecursionError) as error:
        raise BadProof(f"the document has no canonical form: {error}") from None


def did_key(public_key: bytes) -> str:
    return f"did:key:{multikey(public_key)}"


def verification_method(public_key: bytes) -> str:
    return f"{did_key(public_key)}#{multikey(public_key)}"


def multikey(public_key: bytes) -> str:
    return "z" + base58(_ED25519_PUBLIC + public_key)


def key_of_method(method: object) -> bytes:
    """The key that a `did:key` (with or without its fragment) or bare multikey spells out. Raises BadProof."""
    text = method if isinstance(method, str) else ""
    did, _, fragment = text.removeprefix("did:key:").partition("#")
    if not did.startswith("z") or fragment not in ("", did):
        raise BadProof("the verification method is not a did:key")
    try:
        decoded = from_base58(did[1:])
    except ValueError:
        raise BadProof("the verification method is not a did:key") from None
    if not decoded.startswith(_ED25519_PUBLIC) or len(decoded) != 34:
        raise BadProof("the verification method is not an Ed25519 key")
    return decoded[2:]


def base58(data: bytes) -> str:
    """Bitcoin's base 58, without a multibase prefix."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def from_base58(text: str) -> bytes:
    """Raises ValueError for other characters or more than fits a key or signature."""
    if len(text) > _MAX_BASE58_CHARS:
        raise ValueError("too long")
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    return b"\0" * (len(text) - len(text.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")
