"""Metrics of the server itself, on /metrics."""

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "gridbroker_http_request_duration_seconds",
    "Time from request to response.",
    ["method", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30),
)
HINTS_DROPPED = Counter("gridbroker_hints_dropped_total", "Hints that could not be sent; the next sweep finds the rows.")
ADVANCED = Counter("gridbroker_rows_advanced_total", "Work rows that moved.", ["table"])
WORKLOADS = Gauge("gridbroker_workloads", "Workloads by state.", ["state"])
NODES = Gauge("gridbroker_nodes", "Nodes by health.", ["health"])
