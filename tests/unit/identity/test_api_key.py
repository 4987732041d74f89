"""What keys may be, without looking anything up."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.core.secret import ALPHABET, PREFIX_CHARS, SECRET_CHARS, hash_secret, new_secret, prefix_of
from gridbroker.identity.api_key import NotYoursToGive, RoleNotAllowed, check_gift, check_role, is_valid, parse_scopes
from gridbroker.identity.role import PEOPLE, PROVIDERS, ROLES_OF_KIND, Caller, OrganisationKind, Role, Scope

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
times = st.none() | st.timedeltas(timedelta(days=-3), timedelta(days=3)).map(lambda delta: NOW + delta)


def test_the_alphabet_has_no_look_alikes_and_the_secret_enough_bits():
    assert len(set(ALPHABET)) == len(ALPHABET) == 57
    assert not set("0OIl1") & set(ALPHABET)
    assert ALPHABET.isascii() and ALPHABET.isalnum()
    assert SECRET_CHARS * math.log2(len(ALPHABET)) >= 340


def test_secrets_have_their_form_are_all_different_and_use_every_letter():
    made = [new_secret("key") for _ in range(500)]
    assert len(set(made)) == 500
    for secret in made:
        head, kind, prefix, body = secret.split("_")
        assert (head, kind, len(prefix), len(body)) == ("gridbroker", "key", PREFIX_CHARS, SECRET_CHARS)
        assert prefix_of(secret) == f"gridbroker_key_{prefix}"
    seen = Counter("".join(secret.rpartition("_")[2] for secret in made))
    expected = 500 * SECRET_CHARS / len(ALPHABET)
    assert set(seen) == set(ALPHABET)
    assert all(0.7 * expected < count < 1.3 * expected for count in seen.values())


@given(st.text(max_size=120) | st.from_regex(r"gridbroker_[a-z]{0,6}_.{0,12}_.{0,64}", fullmatch=True))
def test_what_is_no_secret_has_no_prefix(text):
    prefix = prefix_of(text)
    if prefix is not None:
        assert set(text.rpartition("_")[2]) <= set(ALPHABET) and text.startswith(prefix)


@pytest.mark.parametrize("wrong", ["\0", "0", "O", "é", "_", " ", "\n"])
def test_one_wrong_letter_is_enough(wrong):
    good = new_secret("key")
    assert prefix_of(good[:-1] + wrong) is None
    assert prefix_of(good + wrong) is None
    assert prefix_of(good.replace("key", "k" + wrong)) is None


def test_hashes_are_of_fixed_length_and_differ():
    one, two = new_secret("key"), new_secret("key")
    assert len(hash_secret(one)) == 32 and hash_secret(one) == hash_secret(one) != hash_secret(two)


@given(times, times)
def test_a_key_is_valid_strictly_before_both_ends(expires_at, revoked_at):
    assert is_valid(expires_at, revoked_at, NOW) == all(end is None or end > NOW for end in (expires_at, revoked_at))


@given(times, times, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_what_has_ended_stays_ended(expires_at, revoked_at, later):
    if not is_valid(expires_at, revoked_at, NOW):
        assert not is_valid(expires_at, revoked_at, NOW + later)


@pytest.mark.parametrize("kind", list(OrganisationKind))
def test_organisations_hold_keys_of_their_own_kind(kind):
    for role in Role:
        if role in ROLES_OF_KIND[kind]:
            check_role(kind, role)
        else:
            with pytest.raises(RoleNotAllowed):
                check_role(kind, role)
    assert Role.NODE not in ROLES_OF_KIND[kind]
    assert (Role.ADMIN in ROLES_OF_KIND[kind]) == (kind is OrganisationKind.PLATFORM)


scopes = st.frozensets(st.sampled_from(list(Scope)))


@given(st.sampled_from(sorted(PEOPLE)), scopes, st.sampled_from(list(Role)), scopes)
def test_nobody_gives_more_than_they_have(own_role, own_scopes, role, given_scopes):
    caller = Caller(UUID(int=1), UUID(int=2), own_role, own_scopes)
    try:
        check_gift(caller, role, given_scopes)
    except NotYoursToGive:
        assert role is Role.NODE or not given_scopes <= own_scopes or role not in (own_role, Role.FINANCE)
    else:
        assert given_scopes <= own_scopes and role is not Role.NODE
        assert own_role is Role.ADMIN or role in (own_role, Role.FINANCE)
        assert role is not Role.ADMIN or own_role is Role.ADMIN


def test_scopes_come_back_sorted_once_each():
    assert parse_scopes(["write", "read", "read"]) == (Scope.READ, Scope.WRITE)
    with pytest.raises(ValueError, match="all"):
        parse_scopes(["all"])


def test_people_and_providers_are_never_nodes():
    assert Role.NODE not in PEOPLE and PROVIDERS < PEOPLE
