import pytest

from gridbroker.pricing.rate_card import list_prices, price_micro_per_gpu_hour
from gridbroker.providers.gpu import CATALOGUE

GIB = 1024


@pytest.mark.parametrize(
    ("model", "price_micro"),
    [
        ("H100-SXM5-80GB", 2_400_000),
        ("A100-PCIE-40GB", 1_500_000),
        ("RTX-4090", 400_000),
        ("L40S", 1_000_000),
        ("L40", 800_000),
        ("RTX-6000-Ada", 750_000),
        ("GH200-96GB", 2_600_000),
    ],
)
def test_the_longest_family_that_begins_the_key_decides(model: str, price_micro: int):
    assert price_micro_per_gpu_hour(model, 0) == price_micro


def test_other_models_are_priced_by_memory():
    assert price_micro_per_gpu_hour("RTX-4080", 16 * GIB) == 320_000
    assert price_micro_per_gpu_hour("H1000", 16 * GIB) == 320_000
    assert price_micro_per_gpu_hour("tiny", 2 * GIB) == 100_000


def test_every_model_of_the_catalogue_has_a_sensible_price():
    prices = list_prices()
    assert prices.keys() == CATALOGUE.keys()
    assert all(100_000 <= price <= 6_000_000 for price in prices.values())
