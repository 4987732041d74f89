"""The broker over HTTP: workloads, plans and offers for people; reports and checkpoints for agents."""

from gridbroker.broker.routes.agent import AGENT_ROUTES
from gridbroker.broker.routes.plans import PLAN_ROUTES
from gridbroker.broker.routes.workloads import WORKLOAD_ROUTES

BROKER_ROUTES = [*WORKLOAD_ROUTES, *PLAN_ROUTES, *AGENT_ROUTES]
