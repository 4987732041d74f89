"""The API's resources. A thin layer: paths, pages and waiting; everything else is the server's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import UUID

from gridbroker_sdk._connection import Connection

Json: TypeAlias = dict[str, Any]
Id: TypeAlias = UUID | str

ENDED = frozenset({"completed", "failed", "cancelled"})
"""States of a workload that nothing follows."""
PAGE_LIMIT = 200
LOG_PAGE_LIMIT = 1000
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Listing:
    """Up to `limit` entries, newest first; `truncated` when there are more."""

    data: list[Json]
    truncated: bool


class Client(Connection):
    """The whole API of one server as one caller."""

    ENDED = ENDED

    def pages(self, path: str, params: Mapping[str, Any] | None = None, *, page_limit: int = PAGE_LIMIT) -> Iterator[Json]:
        """Every entry of a list, page after page."""
        cursor: str | None = None
        while True:
            answer = self.get(path, {**(params or {}), "limit": page_limit, "cursor": cursor})
            yield from answer["data"]
            cursor = answer.get("next_cursor")
            if cursor is None:
                return

    def listing(self, path: str, params: Mapping[str, Any] | None = None, *, limit: int = 50) -> Listing:
        """The first `limit` entries of a list."""
        data: list[Json] = []
        for entry in self.pages(path, params, page_limit=min(PAGE_LIMIT, limit + 1)):
            if len(data) == limit:
                return Listing(data, truncated=True)
            data.append(entry)
        return Listing(data, truncated=False)

    def whoami(self) -> Json:
        return self.get("/api/v1/whoami")

    def plan(self, body: Mapping[str, Any]) -> Json:
        """Where a workload would run and what it would take; nothing is written."""
        return self.post("/api/v1/plans", body)

    def offers(self, **filters: Any) -> Json:
        """Where an hour could run now. Filters: gpu_model, gpus, vram_mib, zone."""
        return self.get("/api/v1/offers", filters)

    def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Quote, hold and workload; durable when this returns. The same key never submits twice."""
        return self.post("/api/v1/workloads", body, idempotency_key=idempotency_key)

    def workload(self, workload_id: Id) -> Json:
        return self.get(workload_path(workload_id))

    def route(self, workload_id: Id) -> Json:
        """Look for a place now rather than at the next retry."""
        return self.post(f"{workload_path(workload_id)}/route")

    def cancel(self, workload_id: Id) -> Json:
        return self.post(f"{workload_path(workload_id)}/cancel")

    def complete(self, workload_id: Id) -> Json:
        return self.post(f"{workload_path(workload_id)}/complete")

    def watch(self, workload_id: Id, *, poll_s: float = POLL_S) -> Iterator[Json]:
        """Its view now and after each pause, until it has ended (the last one has)."""
        while True:
            view = self.workload(workload_id)
            yield view
            if view["state"] in ENDED:
                return
            self.sleep(poll_s)

    def log_pages(self, workload_id: Id, *, after: str = "0.0", follow: bool = False, poll_s: float = POLL_S) -> Iterator[Json]:
        """Pages of log lines after a position: those there are, and with `follow` those to come until it has ended."""
        while True:
            page = self.get(f"{workload_path(workload_id)}/logs", {"after": after, "limit": LOG_PAGE_LIMIT})
            yield page
            after, full = page["next"], len(page["data"]) == LOG_PAGE_LIMIT
            if full:
                continue
            if page["ended"] or not follow:
                return
            self.sleep(poll_s)

    def statement(self, workload_id: Id) -> Json:
        """What an ended workload used, emitted and cost."""
        return self.get(f"/api/v1/statements/{segment(workload_id)}")

    def receipt(self, receipt_id: Id) -> bytes:
        """The carbon receipt, byte for byte as it was signed."""
        return self.get_bytes(f"/api/v1/receipts/{segment(receipt_id)}")

    def proof(self, receipt_id: Id) -> Json:
        return self.get(f"/api/v1/receipts/{segment(receipt_id)}/proof")

    def wallet(self) -> Json:
        return self.get("/api/v1/wallet")

    def top_up(self, amount: str, currency: str, payment_method: str, *, idempotency_key: str | None = None) -> Json:
        """Ask for a card to be charged; the wallet has the money when the charge is `paid`."""
        body = {"amount": amount, "currency": currency, "payment_method": payment_method}
        return self.post("/api/v1/wallet/top-ups", body, idempotency_key=idempotency_key)

    def zones(self) -> list[Json]:
        return self.get("/api/v1/grid/zones")["data"]

    def node(self, node_id: Id) -> Json:
        return self.get(f"/api/v1/nodes/{segment(node_id)}")

    def drain(self, node_id: Id) -> Json:
        """No new workloads for this node; those there run on."""
        return self.post(f"/api/v1/nodes/{segment(node_id)}/drain")

    def undrain(self, node_id: Id) -> Json:
        return self.post(f"/api/v1/nodes/{segment(node_id)}/undrain")

    def node_token(self, **fields: Any) -> Json:
        """A one-time token that admits one node. Fields: ttl_s, org_id."""
        return self.post("/api/v1/node-tokens", fields)

    def create_key(self, **fields: Any) -> Json:
        """A new API key; its `secret` is in this answer only. Fields: name, role, scopes, expires_in_days, org_id."""
        return self.post("/api/v1/keys", fields)

    def rotate_key(self, key_id: Id, overlap_minutes: int = 60) -> Json:
        return self.post(f"/api/v1/keys/{segment(key_id)}/rotate", {"overlap_minutes": overlap_minutes})

    def revoke_key(self, key_id: Id) -> None:
        self.post(f"/api/v1/keys/{segment(key_id)}/revoke")

    def create_organisation(self, **fields: Any) -> Json:
        """Fields: name, kind, home_zone."""
        return self.post("/api/v1/organisations", fields)


def workload_path(workload_id: Id) -> str:
    return f"/api/v1/workloads/{segment(workload_id)}"


def segment(value: Id) -> str:
    """One segment of a path, whatever characters the value has. Raises ValueError for "", "." and ".."."""
    text = str(value)
    if not text.strip("."):
        raise ValueError(f"{text!r} is not an id")
    return quote(text, safe="")
