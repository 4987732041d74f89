"""Who takes part: a customer with money, and three data centres with one node each, every node a real agent process."""

import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from gridbroker_sdk import Client

from gridbroker.app.child import plain_environment
from gridbroker.app.embedded import process as processes
from gridbroker.core.errors import Unavailable
from gridbroker.core.settings import PREFIX, Settings

GPU_MODEL = "H100"
PUE = "1.2"
FUNDS = "100.00"
HOME_ZONE = "DE"
AGENT_READY_S = 30.0
STOP_S = 8.0


class DemoFailed(Unavailable):
    code, title = "demo_failed", "The demonstration did not get through"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    zone: str
    provider_key: str
    agent: Popen[bytes]


@dataclass(frozen=True, slots=True)
class Cast:
    customer: Client
    nodes: tuple[Node, ...]

    def stop(self) -> None:
        for node in self.nodes:
            node.agent.terminate()
        for node in self.nodes:
            processes.stop(node.agent, [(processes.signal.SIGTERM, STOP_S)])
        self.customer.close()


def assemble(url: str, admin_key: str, settings: Settings, zones: tuple[str, ...]) -> Cast:
    """Organisations, keys, funded wallet and running agents. Raises DemoFailed when a node does not come up."""
    with Client(url, admin_key) as admin:
        customer = Client(url, _member(admin, "Acme Research", "developer", HOME_ZONE))
        nodes = tuple(_node(admin, url, settings, zone) for zone in zones)
    cast = Cast(customer, nodes)
    customer.top_up(FUNDS, "EUR", "pm_card_visa")
    if not processes.wait_until(lambda: _is_ready(cast), AGENT_READY_S):
        cast.stop()
        raise DemoFailed(
            f"Nodes or wallet were not ready within {AGENT_READY_S:.0f} s; see the logs in {settings.data_dir / 'logs'}."
        )
    return cast


def _is_ready(cast: Cast) -> bool:
    free = len(cast.customer.offers(gpu_model=GPU_MODEL)["data"])
    return free == len(cast.nodes) and float(cast.customer.wallet()["available"]) > 0


def _member(admin: Client, name: str, role: str, home_zone: str | None = None) -> str:
    """A new organisation's first key."""
    organisation = admin.post("/api/v1/organisations", {"name": name, "kind": role, "home_zone": home_zone})
    return admin.post("/api/v1/keys", {"name": "demo", "role": role, "org_id": organisation["id"]})["secret"]


def _node(admin: Client, url: str, settings: Settings, zone: str) -> Node:
    name = f"node-{zone.lower()}"
    provider_key = _member(admin, f"Data centre {zone}", "datacenter")
    with Client(url, provider_key) as provider:
        token = provider.node_token()["token"]
    environment = plain_environment() | agent_environment(url, settings, name, zone, token)
    log = settings.data_dir / "logs" / f"agent-{zone.lower()}.log"
    agent = processes.spawn([sys.executable, "-P", "-m", "gridbroker.node_agent"], log=log, env=environment)
    return Node(name, zone, provider_key, agent)


def agent_environment(url: str, settings: Settings, name: str, zone: str, token: str) -> dict[str, str]:
    """What an agent of the demonstration is told; its clock is the server's."""
    state_dir: Path = settings.data_dir / "agents" / name
    values = {
        "server_url": url,
        "state_dir": str(state_dir),
        "registration_token": token,
        "node_name": name,
        "zone": zone,
        "gpu_model": GPU_MODEL,
        "pue": PUE,
        "energy_source": "modelled",
        "sample_interval_s": "0.5",
        "heartbeat_interval_s": "1",
        "drain_s": "1",
        "clock_factor": str(settings.clock_factor),
        "clock_wall_epoch": settings.clock_wall_epoch.isoformat() if settings.clock_wall_epoch else "",
        "clock_grid_epoch": settings.clock_grid_epoch.isoformat() if settings.clock_grid_epoch else "",
    }
    return {PREFIX + key.upper(): value for key, value in values.items()}
