"""What a GPU-hour costs where its provider names no price of their own, and the platform's fee.

H100, A100 and RTX 4090 are the platform's launch prices. The others are our own choice, placed between and around those three by
memory and tensor throughput; they follow no vendor's list. A change of any price is a new version.
"""

from gridbroker.core.units import div_half_even
from gridbroker.providers.gpu import CATALOGUE

RATE_CARD_VERSION = "2026-03"
PLATFORM_FEE_BP = 1500
"""The platform's share of each charge in basis points (15 %); the provider gets the rest."""

FALLBACK_MICRO_PER_GIB_HOUR = 20_000
"""For catalogue models without a price: EUR 0.02 per GiB of memory, where the priced ones mostly lie (0.015 to 0.03)."""
FALLBACK_LEAST_MICRO = 100_000

_MIB_PER_GIB = 1024

EUR_CENTS_PER_GPU_HOUR: dict[str, int] = {
    "GB200": 480,
    "B200": 420,
    "H200": 300,
    "GH200": 260,
    "H100": 240,
    "H20": 160,
    "A100": 150,
    "L40S": 100,
    "L40": 80,
    "RTX-6000-ADA": 75,
    "A10G": 60,
    "RTX-5090": 60,
    "A40": 50,
    "RTX-A6000": 50,
    "V100": 50,
    "A10": 45,
    "L4": 45,
    "RTX-4090": 40,
    "A30": 40,
    "RTX-3090": 25,
    "T4": 25,
    "RTX-3080": 20,
}
"""By family: the beginning of a catalogue key up to a dash."""


def price_micro_per_gpu_hour(gpu_model: str, vram_mib: int) -> int:
    """EUR micro-units per hour of one whole GPU, by catalogue key; the longest family that begins the key decides.

    A model of no listed family is priced by its memory, rounded half to even.
    """
    cents = _family_cents(gpu_model)
    if cents is not None:
        return cents * 10_000
    return max(FALLBACK_LEAST_MICRO, div_half_even(vram_mib * FALLBACK_MICRO_PER_GIB_HOUR, _MIB_PER_GIB))


def list_prices() -> dict[str, int]:
    """The price of every catalogue model, EUR micro-units per hour of one GPU, by key."""
    return {model.key: price_micro_per_gpu_hour(model.key, model.vram_mib) for model in CATALOGUE.values()}


def _family_cents(gpu_model: str) -> int | None:
    parts = gpu_model.upper().split("-")
    families = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((EUR_CENTS_PER_GPU_HOUR[family] for family in families if family in EUR_CENTS_PER_GPU_HOUR), None)
