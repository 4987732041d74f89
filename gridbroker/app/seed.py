"""`gridbroker seed`: a demonstration fleet of 13 organisations and 20 nodes over the 11 zones, through the API like anybody else's.

The nodes are registered and heard once; no agent runs on them, so after a while without heartbeats they count as lost. Start an
agent with the same name and a new token to bring one to life. Running it again changes nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gridbroker_sdk import Client

from gridbroker.app.cli.output import put_json, say, table
from gridbroker.core.clock import SystemClock


@dataclass(frozen=True, slots=True)
class SeedNode:
    name: str
    zone: str
    gpu_model: str
    gpu_count: int
    pue: float


@dataclass(frozen=True, slots=True)
class SeedOrganisation:
    name: str
    kind: str
    home_zone: str
    nodes: tuple[SeedNode, ...] = ()


FLEET: tuple[SeedOrganisation, ...] = (
    SeedOrganisation("Lumen Research", "developer", "FR"),
    SeedOrganisation("Corvid Language Lab", "developer", "DE"),
    SeedOrganisation("Pasteur Imaging", "developer", "GB"),
    SeedOrganisation(
        "Rhône Warmth Recovery",
        "recycler",
        "FR",
        (SeedNode("rhone-pool-1", "FR", "A100", 4, 1.05), SeedNode("rhone-pool-2", "FR", "H100", 2, 1.05)),
    ),
    SeedOrganisation("Basin Flare Power", "recycler", "US-TEX-ERCO", (SeedNode("basin-1", "US-TEX-ERCO", "H100", 8, 1.1),)),
    SeedOrganisation(
        "Meseta Compute",
        "datacenter",
        "ES",
        (
            SeedNode("meseta-1", "ES", "H100", 8, 1.2),
            SeedNode("meseta-2", "ES", "A100", 8, 1.2),
            SeedNode("ebro-1", "ES", "L40S", 4, 1.2),
            SeedNode("douro-1", "PT", "A100", 4, 1.2),
        ),
    ),
    SeedOrganisation(
        "Nordsee Hosting",
        "datacenter",
        "DE",
        (
            SeedNode("nordsee-1", "DE", "H100", 8, 1.25),
            SeedNode("nordsee-2", "NL", "H100", 4, 1.25),
            SeedNode("schelde-1", "BE", "A100", 4, 1.25),
        ),
    ),
    SeedOrganisation(
        "Padana Data",
        "datacenter",
        "IT",
        (SeedNode("padana-1", "IT", "A100", 8, 1.35), SeedNode("padana-2", "IT", "L40S", 4, 1.35)),
    ),
    SeedOrganisation(
        "Thames & Forth Cloud",
        "datacenter",
        "GB",
        (SeedNode("forth-1", "GB", "H100", 8, 1.2), SeedNode("thames-1", "GB", "A100", 4, 1.3)),
    ),
    SeedOrganisation(
        "Golden State GPU",
        "datacenter",
        "US-CAL-CISO",
        (SeedNode("mojave-1", "US-CAL-CISO", "H100", 8, 1.25), SeedNode("hudson-1", "US-NY-NYIS", "A100", 8, 1.25)),
    ),
    SeedOrganisation("Amira at home", "gamer", "PT", (SeedNode("amira-4090", "PT", "RTX 4090", 1, 1.0),)),
    SeedOrganisation("Jonas at home", "gamer", "DE", (SeedNode("jonas-4090", "DE", "RTX 4090", 1, 1.0),)),
    SeedOrganisation(
        "Student flat Leuven",
        "gamer",
        "BE",
        (SeedNode("leuven-3080", "BE", "RTX 3080", 1, 1.0), SeedNode("leuven-3090", "NL", "RTX 3090", 1, 1.0)),
    ),
)


def run(url: str, key: str, as_json: bool) -> int:
    """Load the fleet with an admin's key. Returns the exit code; organisations that exist already are left as they are."""
    created: list[dict[str, Any]] = []
    with Client(url, key) as admin:
        known = {organisation["name"] for organisation in admin.pages("/api/v1/organisations")}
        for organisation in FLEET:
            if organisation.name in known:
                say(f"{organisation.name} exists already; left as it is")
                continue
            created.append(_load(admin, url, organisation))
    summary = {"organisations": len(created), "nodes": sum(len(one["nodes"]) for one in created), "keys": created}
    if as_json:
        put_json(summary)
        return 0
    table(
        ("organisation", "kind", "nodes", "key (shown once)"),
        [(one["name"], one["kind"], len(one["nodes"]), one["key"]) for one in created],
    )
    say(f"{summary['organisations']} organisations and {summary['nodes']} nodes, without agents: the nodes soon count as lost.")
    return 0


def _load(admin: Client, url: str, organisation: SeedOrganisation) -> dict[str, Any]:
    body = {"name": organisation.name, "kind": organisation.kind, "home_zone": organisation.home_zone}
    org_id = admin.post("/api/v1/organisations", body)["id"]
    key = admin.post("/api/v1/keys", {"name": "seed", "role": organisation.kind, "org_id": org_id})["secret"]
    nodes = [_register(admin, url, org_id, node) for node in organisation.nodes]
    return {"id": org_id, "name": organisation.name, "kind": organisation.kind, "key": key, "nodes": nodes}


def _register(admin: Client, url: str, org_id: str, node: SeedNode) -> dict[str, str]:
    token = admin.node_token(org_id=org_id)["token"]
    body = {
        "token": token,
        "name": node.name,
        "zone": node.zone,
        "gpu_model": node.gpu_model,
        "gpu_count": node.gpu_count,
        "pue": node.pue,
        "sent_at": _wall(),
    }
    registered = admin.post("/api/v1/nodes", body)
    gpus = [{"index": index, "utilisation": 0.0, "power_w": registered["gpu_idle_w"]} for index in range(node.gpu_count)]
    with Client(url, registered["key"]) as agent:
        agent.post("/api/v1/nodes/self/heartbeat", {"sent_at": _wall(), "gpus": gpus})
    return {"id": registered["node_id"], "name": node.name, "zone": node.zone}


def _wall() -> str:
    now: datetime = SystemClock().wall()
    return now.astimezone(UTC).isoformat()
