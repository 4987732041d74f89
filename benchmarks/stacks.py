"""Whole stacks in data folders of their own, and who takes part: customers with money, nodes with tokens."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from gridbroker_sdk import Client

from gridbroker.app.admin import ensure_admin_now
from gridbroker.app.embedded.process import wait_until
from gridbroker.app.stack import Stack
from gridbroker.core.settings import Settings, load

GPU_MODEL = "H100"
HOST = "127.0.0.1"
FUNDS = "100000.00"
FUNDED_TIMEOUT_S = 60.0
CHILD_GRACE_S = 30.0


class BenchmarkFailed(Exception):
    """Something that is measured did not work; there is no figure then."""


@dataclass(frozen=True, slots=True)
class Market:
    """A running stack with customers that can pay."""

    stack: Stack
    admin_key: str
    customer_keys: tuple[str, ...]

    @property
    def port(self) -> int:
        return self.stack.settings.api_port

    def node_tokens(self, count: int) -> list[str]:
        """One-time tokens of a data centre made for them."""
        with Client(self.stack.url, self.admin_key) as admin:
            key, _ = _member(admin, f"Data centre of {count}", "datacenter")
        with Client(self.stack.url, key) as provider:
            return [provider.node_token()["token"] for _ in range(count)]


def settings_in(folder: Path, **overrides: Any) -> Settings:
    """Everything embedded and on loopback, whatever the environment says about servers and addresses."""
    own: dict[str, Any] = {
        "data_dir": folder,
        "api_host": HOST,
        "api_port": 0,
        "database_url": None,
        "app_database_url": None,
        "system_database_url": None,
        "redis_url": None,
        "log_level": "warning",
    }
    return load(**own | overrides)


@contextmanager
def market(settings: Settings, customers: int) -> Iterator[Market]:
    """A stack of one API process, one worker and the scheduler, with funded customers; stopped when the block ends."""
    with Stack.start(settings) as stack:
        admin_key = ensure_admin_now(stack.settings)
        assert admin_key is not None, "the folder is new"
        with Client(stack.url, admin_key) as admin:
            keys = tuple(_customer(admin, stack.url, number) for number in range(customers))
        yield Market(stack, admin_key, keys)


def _customer(admin: Client, url: str, number: int) -> str:
    key, _ = _member(admin, f"Customer {number}", "developer")
    with Client(url, key) as customer:
        customer.top_up(FUNDS, "EUR", "pm_card_visa")
        if not wait_until(lambda: float(customer.wallet()["available"]) > 0, FUNDED_TIMEOUT_S):
            raise BenchmarkFailed(f"the wallet of customer {number} was not credited within {FUNDED_TIMEOUT_S:.0f} s")
    return key


def _member(admin: Client, name: str, role: str) -> tuple[str, str]:
    """A new organisation's first key, and its id."""
    organisation = admin.create_organisation(name=name, kind=role, home_zone="DE")
    return admin.create_key(name="benchmark", role=role, org_id=organisation["id"])["secret"], organisation["id"]


def workload_body(seconds: float) -> bytes:
    """A short program on one GPU, as JSON."""
    body = {
        "name": "benchmark",
        "command": ["sleep", f"{seconds:g}"],
        "gpu_model": GPU_MODEL,
        "expected_hours": 0.01,
        "budget": {"amount": "0.10", "currency": "EUR"},
    }
    return json.dumps(body).encode()


def module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{name}"]


def run_child(name: str, plan: msgspec.Struct, timeout_s: float) -> bytes:
    """A benchmark process that reads a plan and prints its outcome. Killed after `timeout_s`; raises BenchmarkFailed."""
    try:
        given = msgspec.json.encode(plan)
        result = subprocess.run(module(name), input=given, stdout=subprocess.PIPE, timeout=timeout_s, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchmarkFailed(f"{name}: {error}") from error
    return result.stdout


@contextmanager
def child(name: str, plan: msgspec.Struct) -> Iterator[subprocess.Popen[bytes]]:
    """A benchmark process that reads its plan as one line and ends when its stdin does; killed when the block ends."""
    process = subprocess.Popen(module(name), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        say(process, msgspec.json.encode(plan))
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes]) -> bytes:
    """Its next line. Raises BenchmarkFailed when it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchmarkFailed(f"{process.args} ended with {process.wait()}")
    return line


def end(process: subprocess.Popen[bytes]) -> bytes:
    """Close its stdin and return the rest of what it says. Raises BenchmarkFailed."""
    try:
        said, _ = process.communicate(timeout=CHILD_GRACE_S)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(str(error)) from error
    if process.returncode != 0:
        raise BenchmarkFailed(f"{process.args} ended with {process.returncode}")
    return said
