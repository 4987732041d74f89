"""Options that many commands share."""

from typing import Annotated
from uuid import UUID

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, on failure the problem document.")]
Url = Annotated[str | None, typer.Option("--url", help="Address of the server; over GRIDBROKER_URL.", show_default=False)]
ProfileName = Annotated[str, typer.Option("--profile", help="Saved server and key to use.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most entries to list.")]
Id = Annotated[UUID, typer.Argument(metavar="ID", show_default=False)]
WorkloadFilter = Annotated[UUID | None, typer.Option("--workload", help="Only of this workload.", show_default=False)]
