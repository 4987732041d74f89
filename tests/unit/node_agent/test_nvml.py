"""NVML through its real Python bindings, over a small library compiled for this test."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = shutil.which("cc")

# In a process of its own: the bindings load their library once and for all.
PROBE = """
import json, os, sys
from dataclasses import asdict
from gridbroker.node_agent.nvml import NoNvml, NvmlEnergy
try:
    source = NvmlEnergy()
except NoNvml as error:
    print(json.dumps(str(error)))
    sys.exit()
raw, readings = None, [source.kind]
for line in sys.argv[1:]:
    with open(os.environ["FAKE_NVML_STATE"], "w") as file:
        file.write(line)
    reading = source.read(0, elapsed_us=2_000_000, load=None, previous_raw_mj=raw)
    raw = reading.raw_mj if reading and reading.raw_mj is not None else raw
    readings.append(reading and asdict(reading))
assert source.read(1, elapsed_us=1, load=None, previous_raw_mj=None) is None
source.close()
print(json.dumps(readings))
"""


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_counter_then_reset_then_power_then_silence(tmp_path: Path) -> None:
    kind, first, counted, reset, integrated, silent = probe(
        tmp_path,
        "1000 300000 80 45 1073741824",
        "601000 300000 80 45 1073741824",
        "50 250000 80 45 1073741824",
        "-1 250000 -1 -1 -1",
        "-1 -1 -1 -1 -1",
    )
    assert kind == "measured"
    assert (first["energy_nj"], first["kind"], first["power_w"]) == (0, "measured", 300)
    assert (counted["energy_nj"], counted["kind"]) == (600_000 * 10**6, "measured")
    assert (counted["utilisation"], counted["temperature_c"], counted["memory_used_mib"]) == (0.8, 45, 1024)
    # After a driver reload the counter begins anew: two seconds at the measured power instead.
    assert (reset["energy_nj"], reset["kind"], reset["raw_mj"]) == (500_000 * 10**6, "estimated", 50)
    assert (integrated["energy_nj"], integrated["kind"], integrated["raw_mj"]) == (500_000 * 10**6, "estimated", None)
    assert silent is None, "no answer is not zero"


def test_without_a_driver_it_says_so(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    assert "NVML does not start" in run_probe(tmp_path)


def probe(folder: Path, *states: str) -> list:
    assert COMPILER is not None
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, source], check=True)
    return run_probe(folder, *states)


def run_probe(folder: Path, *states: str) -> list:
    state = folder / "state"
    state.write_text(states[0] if states else "")
    environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": str(folder), "FAKE_NVML_STATE": str(state)}
    answer = subprocess.run([sys.executable, "-c", PROBE, *states], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)
