"""Signatures: the W3C vectors of eddsa-jcs-2022 (vc-di-eddsa, appendix B.3), round trips, tampering."""

import pytest

from gridbroker.settlement.data_integrity import (
    BadProof,
    add_proof,
    base58,
    check_proof,
    did_key,
    from_base58,
    key_of_method,
    verification_method,
)
from tests.unit.settlement.keys import FixedSigner, w3c_signer

W3C_KEY = "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
W3C_PROOF_VALUE = "z2HnFSSPPBzR36zdDgK8PbEHeXbR56YF24jwMpt3R1eHXQzJDMWS93FCzpvJpwTWd3GAVFuUfjoJdcnTMuVor51aX"
W3C_CREDENTIAL = {
    "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
    "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
    "type": ["VerifiableCredential", "AlumniCredential"],
    "name": "Alumni Credential",
    "description": "A minimum viable example of an Alumni Credential.",
    "issuer": "https://vc.example/issuers/5678",
    "validFrom": "2023-01-01T00:00:00Z",
    "credentialSubject": {"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
}


def _signed() -> dict:
    return add_proof(W3C_CREDENTIAL, w3c_signer(), "2023-02-24T23:36:38Z")


def test_the_published_vector():
    signed = _signed()
    assert did_key(w3c_signer().public_key) == W3C_KEY
    assert signed["proof"]["proofValue"] == W3C_PROOF_VALUE
    assert check_proof(signed) == w3c_signer().public_key


def test_another_key_signs_otherwise():
    other = FixedSigner(bytes(32))
    signed = add_proof(W3C_CREDENTIAL, other, "2023-02-24T23:36:38Z")
    assert check_proof(signed) == other.public_key != w3c_signer().public_key
    with pytest.raises(BadProof, match="does not fit"):
        check_proof({**signed, "proof": {**signed["proof"], "verificationMethod": verification_method(w3c_signer().public_key)}})


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2023-02-24T23:36:39Z"},
        {"cryptosuite": "eddsa-rdfc-2022"},
        {"type": "Ed25519Signature2020"},
        {"proofPurpose": "authentication"},
        {"@context": ["https://www.w3.org/ns/credentials/v2"]},
        {"proofValue": "z" + W3C_PROOF_VALUE[2:]},
        {"proofValue": "z0OIl"},
        {"proofValue": W3C_PROOF_VALUE[1:]},
        {"proofValue": None},
        {"proofValue": "z" + "2" * 100_000},
        {"verificationMethod": "https://vc.example/issuers/5678#key"},
        {"verificationMethod": "did:key:z6MkrJVnaZ"},
        {"verificationMethod": W3C_KEY + "#zOther"},
        {"extra": True},
    ],
)
def test_a_changed_proof_does_not_hold(change):
    signed = _signed()
    with pytest.raises(BadProof):
        check_proof({**signed, "proof": {**signed["proof"], **change}})


@pytest.mark.parametrize("change", [{"name": "Alumni  Credential"}, {"extra": 1}, {"proof": None}, {"proof": []}, {"id": 2**60}])
def test_a_changed_document_does_not_hold(change):
    with pytest.raises(BadProof):
        check_proof({**_signed(), **change})


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1", b"hello", bytes(range(64))])
def test_base58_round_trips(data):
    assert from_base58(base58(data)) == data


def test_base58_known_answer():
    assert base58(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    with pytest.raises(ValueError, match="substring"):
        from_base58("0")


def test_a_key_is_read_with_and_without_its_fragment():
    key = w3c_signer().public_key
    assert key_of_method(verification_method(key)) == key_of_method(W3C_KEY) == key_of_method(W3C_KEY[8:]) == key
