"""Merkle trees: the laws of inclusion, and the answer that RFC 6962's reference implementation gives."""

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.settlement import merkle

REFERENCE_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
REFERENCE_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"

leaves = st.lists(st.binary(max_size=8), min_size=1, max_size=70).map(lambda data: [merkle.leaf_hash(one) for one in data])


def _recursive_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word: split at the largest power of two below the size."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return merkle.node_hash(_recursive_root(hashes[:split]), _recursive_root(hashes[split:]))


def test_the_reference_tree():
    assert merkle.root([merkle.leaf_hash(data) for data in REFERENCE_LEAVES]).hex() == REFERENCE_ROOT
    assert merkle.root([]).hex().startswith("e3b0c44298fc1c14")


@given(leaves)
def test_the_root_is_the_one_of_the_definition(hashes):
    assert merkle.root(hashes) == _recursive_root(hashes)


@given(leaves, st.data())
def test_every_leaf_is_proven_at_its_index_and_nowhere_else(hashes, data):
    index = data.draw(st.integers(0, len(hashes) - 1))
    other = data.draw(st.integers(-1, len(hashes) + 1))
    root, path = merkle.root(hashes), merkle.proof(hashes, index)
    assert merkle.includes(hashes[index], index, len(hashes), path, root)
    if other != index and not (0 <= other < len(hashes) and hashes[other] == hashes[index]):
        assert not merkle.includes(hashes[index], other, len(hashes), path, root)
    assert not merkle.includes(merkle.leaf_hash(b"something else"), index, len(hashes), path, root)


@given(leaves, st.data())
def test_a_proof_that_was_touched_proves_nothing(hashes, data):
    index = data.draw(st.integers(0, len(hashes) - 1))
    root, path = merkle.root(hashes), merkle.proof(hashes, index)
    assert not merkle.includes(hashes[index], index, len(hashes), [*path, hashes[0]], root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert not merkle.includes(hashes[index], index, len(hashes), path[:-1], root)
        flipped = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
        assert not merkle.includes(hashes[index], index, len(hashes), flipped, root)


@given(leaves)
def test_proofs_together_are_the_proofs_one_by_one(hashes):
    assert merkle.proofs(hashes, range(len(hashes))) == [merkle.proof(hashes, index) for index in range(len(hashes))]
