"""A node's registration, read and checked before anything is looked up or written."""

from collections.abc import Mapping
from dataclasses import dataclass

from gridbroker.core.errors import FieldError, Invalid
from gridbroker.core.money import parse_micro
from gridbroker.identity.role import OrganisationKind
from gridbroker.node_agent.protocol import NodeRegistration
from gridbroker.providers import gpu
from gridbroker.providers.lease import MAX_GPUS_PER_NODE
from gridbroker.providers.node import Tier

MAX_PUE = 3.0
MAX_NAME_CHARS = 100
MAX_BACKENDS = 8
MAX_PRICE_MICRO = 1_000_000_000
"""1,000 EUR per GPU hour: more is a slip of the decimal point."""

_TIER_OF = {
    OrganisationKind.RECYCLER: Tier.RECYCLER,
    OrganisationKind.DATACENTER: Tier.DATACENTER,
    OrganisationKind.GAMER: Tier.GAMER,
}


class UnknownZone(Invalid):
    code, title = "unknown_zone", "No such grid zone"


class NotAProvider(Invalid):
    code, title = "not_a_provider", "This organisation does not provide nodes"


class InvalidRegistration(Invalid):
    code, title = "invalid_registration", "The registration is not valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffer:
    """What a provider says of a node, checked and in our units."""

    name: str
    zone: str
    gpu_model: str
    gpu_count: int
    price_micro_per_gpu_hour: int
    pue_milli: int
    """Thousandths."""
    energy_kind: str
    backends: tuple[str, ...]


def tier_of(kind: OrganisationKind) -> Tier:
    """Raises NotAProvider for kinds of organisation that have no nodes."""
    tier = _TIER_OF.get(kind)
    if tier is None:
        raise NotAProvider(f"Nodes belong to data centres, gamers and recyclers; this is a {kind} organisation.")
    return tier


def read_registration(registration: NodeRegistration, *, known_zones: frozenset[str], list_prices: Mapping[str, int]) -> NodeOffer:
    """The offer in a registration. `list_prices` holds EUR micro-units per GPU hour by catalogue key, for nodes that name no price.

    Raises UnknownGpuModel, UnknownZone, and InvalidRegistration with every other field that is wrong.
    """
    model = gpu.find(registration.gpu_model)
    if registration.zone not in known_zones:
        choices = ", ".join(sorted(known_zones))
        detail = f"There is no zone {registration.zone[:40]!r}. Known: {choices}."
        raise UnknownZone(detail, errors=[FieldError("/zone", f"one of {choices}")])
    price_micro, price_error = _read_price(registration.price_eur_per_gpu_hour, list_prices.get(model.key))
    errors = [*_wrong_fields(registration), *([FieldError("/price_eur_per_gpu_hour", price_error)] if price_error else [])]
    if errors:
        raise InvalidRegistration("; ".join(f"{error.pointer}: {error.detail}" for error in errors), errors=errors)
    return NodeOffer(
        name=registration.name,
        zone=registration.zone,
        gpu_model=model.key,
        gpu_count=registration.gpu_count,
        price_micro_per_gpu_hour=price_micro,
        pue_milli=round(registration.pue * 1000),
        energy_kind=registration.energy_kind,
        backends=registration.backends,
    )


def _read_price(text: str | None, list_price_micro: int | None) -> tuple[int, str | None]:
    """Micro-units per GPU hour, and what is wrong with them."""
    if text is None:
        return (list_price_micro, None) if list_price_micro else (0, "this model has no list price: name one")
    try:
        price_micro = parse_micro(text)
    except ValueError as error:
        return 0, str(error)
    return price_micro, None if 0 < price_micro <= MAX_PRICE_MICRO else "more than 0 and at most 1000"


def _wrong_fields(registration: NodeRegistration) -> list[FieldError]:
    name, backends = registration.name, registration.backends
    wrong = {
        "/name": (_is_label(name, MAX_NAME_CHARS), f"1 to {MAX_NAME_CHARS} printable characters, no spaces at the ends"),
        "/gpu_count": (1 <= registration.gpu_count <= MAX_GPUS_PER_NODE, f"1 to {MAX_GPUS_PER_NODE}"),
        "/pue": (1.0 <= registration.pue <= MAX_PUE, f"1.0 to {MAX_PUE}"),
        "/backends": (
            1 <= len(backends) <= MAX_BACKENDS and all(_is_label(backend, 32) for backend in backends),
            f"1 to {MAX_BACKENDS} names of at most 32 characters",
        ),
    }
    return [FieldError(pointer, rule) for pointer, (is_right, rule) in wrong.items() if not is_right]


def _is_label(text: str, max_chars: int) -> bool:
    return 0 < len(text) <= max_chars and text == text.strip() and text.isprintable()
