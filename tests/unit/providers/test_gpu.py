import pytest

from gridbroker.providers.gpu import CATALOGUE, IdleQuality, UnknownGpuModel, find


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.key)
def test_facts_are_plausible(model):
    assert 0 < model.idle_w < model.tdp_w / 4, "an idle GPU draws a small part of its limit"
    assert 60 <= model.tdp_w <= 1500
    assert model.vram_mib % 1024 == 0
    assert model.bf16_dense_tflops > 0
    assert model.source
    # Dense rates: the sparse ones that lists often quote lie far beyond this.
    assert model.bf16_dense_tflops / model.tdp_w < 2.6


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.key)
def test_every_key_finds_itself_however_it_is_written(model):
    assert find(model.key) is model
    assert find(model.key.lower().replace("-", " ")) is model
    assert find(f"NVIDIA {model.key}") is model


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("H100", "H100-SXM5-80GB"),
        ("h100 pcie", "H100-PCIE-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIE-80GB"),
        ("A100", "A100-SXM4-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"),
        ("NVIDIA H200", "H200-SXM-141GB"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("RTX 4090", "RTX-4090"),
        ("4090", "RTX-4090"),
        ("Tesla T4", "T4"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
    ],
)
def test_aliases_and_driver_names(name, key):
    assert find(name).key == key


@pytest.mark.parametrize("name", ["", "H1000-XXL", "Voodoo 2", "RTX", "x" * 10_000])
def test_unknown_models_are_refused_with_suggestions(name):
    with pytest.raises(UnknownGpuModel) as refused:
        find(name)
    assert (refused.value.code, refused.value.status) == ("unknown_gpu_model", 422)
    assert refused.value.errors[0].pointer == "/gpu_model"
    assert len(refused.value.detail) < 400


def test_suggestions_are_near():
    with pytest.raises(UnknownGpuModel, match="RTX-4090"):
        find("RTX 4091")


def test_only_measured_idle_powers_say_so():
    measured = {key for key, model in CATALOGUE.items() if model.idle_quality is IdleQuality.MEASURED}
    assert measured == {"V100-SXM2-16GB", "H100-NVL-94GB", "H200-SXM-141GB"}


def test_no_consumer_card_has_mig():
    assert not [key for key, model in CATALOGUE.items() if model.mig and key.startswith("RTX-") and "PRO" not in key]
    assert all(CATALOGUE[key].mig for key in ("A30", "A100-PCIE-40GB", "H100-SXM5-80GB", "B200-SXM-180GB"))
