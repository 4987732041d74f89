"""What is known of each GPU model, and where the knowledge is from.

VRAM is the vendor's nominal GB taken as GiB (x 1024 MiB); a driver reports a little less (an H100 80GB: 81,559 of 81,920 MiB).
`bf16_dense_tflops` is without sparsity and, on consumer cards, with FP32 accumulation; models before Ampere have no bf16: theirs is
the FP16 tensor rate. A model that is not listed is refused: a guessed power would make every figure after it a guess.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from gridbroker.core.errors import FieldError, Invalid

MIB_PER_GB = 1024
MAX_NAME_CHARS = 100


class IdleQuality(StrEnum):
    """How far the idle power can be trusted."""

    MEASURED = "measured"
    """Read from a real board's counter, at least once."""
    VENDOR_MOCK = "vendor_mock"
    """The constant in NVIDIA's own mock of NVML."""
    UNVERIFIED = "unverified"
    """A usual figure that no measurement at hand confirms."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    key: str
    architecture: str
    vram_mib: int
    tdp_w: float
    idle_w: float
    """Of a bare GPU; a CUDA context alone adds some 26 to 66 W on data-centre boards."""
    idle_quality: IdleQuality
    bf16_dense_tflops: float
    mig: bool
    """The driver can cut it into MIG slices."""
    source: str
    """Of TDP and rate; what is not confirmed is said."""


class UnknownGpuModel(Invalid):
    code, title = "unknown_gpu_model", "The catalogue has no such GPU model"


def find(name: str) -> GpuModel:
    """The model by key, alias or the driver's product name, in any spelling of case and separators. Raises UnknownGpuModel."""
    wanted = _normalise(name)
    key = _KEY_OF.get(wanted)
    if key is None:
        raise _unknown(name, wanted)
    return CATALOGUE[key]


def _unknown(name: str, wanted: str) -> UnknownGpuModel:
    near = get_close_matches(wanted[:MAX_NAME_CHARS], _KEY_OF, n=5, cutoff=0.5)
    choices = list(dict.fromkeys(_KEY_OF[match] for match in near))[:3] or ["H100-SXM5-80GB", "A100-SXM4-80GB", "RTX-4090"]
    shown = name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}..."
    detail = f"There is no GPU model {shown!r} in the catalogue. Near: {', '.join(choices)}."
    return UnknownGpuModel(detail, errors=[FieldError("/gpu_model", f"for example {', '.join(choices)}")])


def _normalise(name: str) -> str:
    """Letters and digits alone, capital, without the maker's and the line's name."""
    return re.sub(r"NVIDIA|GEFORCE|TESLA|GENERATION|[^A-Z0-9]", "", name.upper())


_DATASHEET = "NVIDIA datasheet"
_COPY = "copies of the NVIDIA datasheet"
_TDP_OPEN = f"{_COPY}; TDP unverified"
_RATE_OPEN = f"{_DATASHEET} (TDP); rate unverified"
_OPEN = "unverified"
_MEASURED, _MOCK, _USUAL = IdleQuality.MEASURED, IdleQuality.VENDOR_MOCK, IdleQuality.UNVERIFIED

_Row = tuple[str, str, int, float, float, IdleQuality, float, bool, str]
_TABLE: tuple[_Row, ...] = (
    # key, architecture, VRAM in GB, TDP and idle power in W, quality of the idle power, TFLOPS, MIG, source
    ("V100-SXM2-16GB", "Volta", 16, 300, 42, _MEASURED, 125, False, f"{_TDP_OPEN}; FP16"),
    ("V100-SXM2-32GB", "Volta", 32, 300, 42, _USUAL, 125, False, f"{_TDP_OPEN}; FP16"),
    ("V100-PCIE-16GB", "Volta", 16, 250, 30, _USUAL, 112, False, f"{_TDP_OPEN}; FP16"),
    ("T4", "Turing", 16, 70, 12, _MOCK, 65, False, f"{_DATASHEET}; FP16"),
    ("A10", "Ampere", 24, 150, 16, _USUAL, 125, False, _TDP_OPEN),
    # AWS caps its A10G at 300 W, lists say 150 W: the higher one is what the board can draw.
    ("A10G", "Ampere", 24, 300, 20, _USUAL, 70, False, "sources differ on TDP, 150 or 300 W; rate unverified"),
    ("A30", "Ampere", 24, 165, 30, _USUAL, 165, True, f"{_DATASHEET}; unverified but for MIG"),
    ("A40", "Ampere", 48, 300, 30, _USUAL, 149.7, False, _TDP_OPEN),
    ("A100-PCIE-40GB", "Ampere", 40, 250, 40, _USUAL, 312, True, _DATASHEET),
    ("A100-PCIE-80GB", "Ampere", 80, 300, 45, _USUAL, 312, True, _TDP_OPEN),
    ("A100-SXM4-40GB", "Ampere", 40, 400, 55, _USUAL, 312, True, _DATASHEET),
    ("A100-SXM4-80GB", "Ampere", 80, 400, 60, _USUAL, 312, True, _DATASHEET),
    ("L4", "Ada", 24, 72, 16, _USUAL, 121, False, _DATASHEET),
    ("L40", "Ada", 48, 300, 35, _USUAL, 181, False, _RATE_OPEN),
    ("L40S", "Ada", 48, 350, 35, _USUAL, 362, False, _DATASHEET),
    ("H100-PCIE-80GB", "Hopper", 80, 350, 50, _USUAL, 756, True, _COPY),
    ("H100-SXM5-80GB", "Hopper", 80, 700, 70, _USUAL, 989, True, _DATASHEET),
    ("H100-NVL-94GB", "Hopper", 94, 400, 62, _MEASURED, 835, True, _DATASHEET),
    ("H200-SXM-141GB", "Hopper", 141, 700, 80, _MEASURED, 989, True, _COPY),
    ("H200-NVL-141GB", "Hopper", 141, 600, 75, _USUAL, 835, True, _RATE_OPEN),
    ("H20-96GB", "Hopper", 96, 400, 70, _USUAL, 148, True, "rate published; TDP unverified"),
    # The module's cap is configurable from 450 to 1000 W and may include the CPU.
    ("GH200-96GB", "Hopper", 96, 700, 90, _USUAL, 989, True, _OPEN),
    ("B200-SXM-180GB", "Blackwell", 180, 1000, 130, _MOCK, 2250, True, "published board figures"),
    ("GB200-186GB", "Blackwell", 186, 1200, 145, _MOCK, 2500, True, "published board figures"),
    ("RTX-3080-10GB", "Ampere", 10, 320, 20, _USUAL, 59.5, False, _RATE_OPEN),
    ("RTX-3090", "Ampere", 24, 350, 25, _USUAL, 71, False, _RATE_OPEN),
    ("RTX-4070-Ti-SUPER", "Ada", 16, 285, 14, _USUAL, 88, False, _RATE_OPEN),
    ("RTX-4080", "Ada", 16, 320, 15, _USUAL, 97.5, False, _OPEN),
    ("RTX-4090", "Ada", 24, 450, 20, _USUAL, 165.2, False, _DATASHEET),
    ("RTX-5070-Ti", "Blackwell", 16, 300, 15, _USUAL, 87.9, False, _OPEN),
    ("RTX-5080", "Blackwell", 16, 360, 18, _USUAL, 112.6, False, _OPEN),
    ("RTX-5090", "Blackwell", 32, 575, 25, _USUAL, 209.5, False, f"{_COPY}; rate halved from FP16 accumulation"),
    ("RTX-A5000", "Ampere", 24, 230, 22, _USUAL, 55.5, False, _RATE_OPEN),
    ("RTX-A6000", "Ampere", 48, 300, 25, _USUAL, 154.8, False, _RATE_OPEN),
    ("RTX-6000-Ada", "Ada", 48, 300, 25, _USUAL, 364, False, _OPEN),
    # The cap is configurable from 400 to 600 W.
    ("RTX-PRO-6000-Blackwell-Server", "Blackwell", 96, 600, 35, _USUAL, 503, True, f"{_OPEN} but for MIG"),
)

CATALOGUE: dict[str, GpuModel] = {
    key: GpuModel(key, architecture, vram_gb * MIB_PER_GB, tdp_w, idle_w, idle_quality, tflops, mig, source)
    for key, architecture, vram_gb, tdp_w, idle_w, idle_quality, tflops, mig, source in _TABLE
}

_ALIASES = {
    "V100": "V100-SXM2-16GB",
    "V100-SXM2": "V100-SXM2-16GB",
    "V100-PCIE": "V100-PCIE-16GB",
    "A100": "A100-SXM4-80GB",
    "A100-40GB": "A100-SXM4-40GB",
    "A100-80GB": "A100-SXM4-80GB",
    "A100 80GB PCIe": "A100-PCIE-80GB",
    "H100": "H100-SXM5-80GB",
    "H100-SXM": "H100-SXM5-80GB",
    "H100-80GB": "H100-SXM5-80GB",
    "H100 80GB HBM3": "H100-SXM5-80GB",
    "H100-PCIE": "H100-PCIE-80GB",
    "H100-NVL": "H100-NVL-94GB",
    "H200": "H200-SXM-141GB",
    "H200-SXM": "H200-SXM-141GB",
    "H200-NVL": "H200-NVL-141GB",
    "H20": "H20-96GB",
    "GH200": "GH200-96GB",
    "GH200 480GB": "GH200-96GB",
    "B200": "B200-SXM-180GB",
    "GB200": "GB200-186GB",
    "RTX-3080": "RTX-3080-10GB",
    "3080": "RTX-3080-10GB",
    "A5000": "RTX-A5000",
    "A6000": "RTX-A6000",
    "RTX PRO 6000 Blackwell Server Edition": "RTX-PRO-6000-Blackwell-Server",
}
"""Short names mean the most common board; the driver's product names mean just theirs."""


def _spellings() -> dict[str, str]:
    spellings = {_normalise(alias): key for alias, key in _ALIASES.items()}
    for key in CATALOGUE:
        spellings[_normalise(key)] = key
        if re.match(r"RTX-\d", key):
            spellings[_normalise(key).removeprefix("RTX")] = key
    return spellings


_KEY_OF = _spellings()
