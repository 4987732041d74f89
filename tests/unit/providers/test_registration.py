import dataclasses

import pytest

from gridbroker.identity.role import OrganisationKind
from gridbroker.node_agent.protocol import NodeRegistration
from gridbroker.providers.gpu import UnknownGpuModel
from gridbroker.providers.node import Tier
from gridbroker.providers.registration import InvalidRegistration, NotAProvider, UnknownZone, read_registration, tier_of

ZONES = frozenset({"FR", "DE"})
GOOD = NodeRegistration(token="t", name="n1", zone="FR", gpu_model="H100", gpu_count=8, price_eur_per_gpu_hour="2.40", pue=1.234)


def read(**changes: object):
    return read_registration(dataclasses.replace(GOOD, **changes), known_zones=ZONES, list_prices={"RTX-4090": 400_000})


def test_an_offer_is_in_our_units():
    offer = read()
    assert (offer.gpu_model, offer.gpu_count, offer.price_micro_per_gpu_hour) == ("H100-SXM5-80GB", 8, 2_400_000)
    assert (offer.pue_milli, offer.energy_kind, offer.backends) == (1234, "modelled", ("process",))


def test_no_price_means_the_list_price():
    assert read(gpu_model="4090", price_eur_per_gpu_hour=None).price_micro_per_gpu_hour == 400_000


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": " n"}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "n" * 101}, "/name"),
        ({"gpu_count": 0}, "/gpu_count"),
        ({"gpu_count": -1}, "/gpu_count"),
        ({"gpu_count": 17}, "/gpu_count"),
        ({"pue": 0.99}, "/pue"),
        ({"pue": 3.01}, "/pue"),
        ({"pue": float("nan")}, "/pue"),
        ({"backends": ()}, "/backends"),
        ({"backends": ("",)}, "/backends"),
        ({"price_eur_per_gpu_hour": "0"}, "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": "-1"}, "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": "NaN"}, "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": "two"}, "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": "0.0000001"}, "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": "1000.01"}, "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": None}, "/price_eur_per_gpu_hour"),
    ],
)
def test_each_wrong_field_is_named(changes, pointer):
    with pytest.raises(InvalidRegistration) as refused:
        read(**changes)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(InvalidRegistration) as refused:
        read(name="", gpu_count=0, price_eur_per_gpu_hour="x")
    assert {error.pointer for error in refused.value.errors} == {"/name", "/gpu_count", "/price_eur_per_gpu_hour"}


def test_zone_and_model_have_codes_of_their_own():
    with pytest.raises(UnknownZone, match="Known: DE, FR"):
        read(zone="XX")
    with pytest.raises(UnknownGpuModel):
        read(gpu_model="H10000")


def test_the_tier_follows_from_the_kind_of_organisation():
    assert tier_of(OrganisationKind.RECYCLER) is Tier.RECYCLER
    assert tier_of(OrganisationKind.DATACENTER) is Tier.DATACENTER
    assert tier_of(OrganisationKind.GAMER) is Tier.GAMER
    for kind in (OrganisationKind.DEVELOPER, OrganisationKind.PLATFORM):
        with pytest.raises(NotAProvider):
            tier_of(kind)
