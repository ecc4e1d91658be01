"""What this machine's own clients ask the API for."""

from __future__ import annotations

from pydantic import Field

from glassformer.server.schemas.base import Output


class ClientRequest(Output):
    """A request to the API: its first prompt, and the first text as far as it is written."""

    id: str
    run: str
    texts: int
    prompt: str
    place: dict[str, str] = Field(
        description="What the page's address says of the choice of its first new token, or of its"
        " prompt until that is chosen."
    )
    text: str
    prompt_tokens: int
    new_tokens: int
    seconds: float
    done: bool
    left: bool = Field(description="Whether its client left before it had all.")
    failed: bool


class ClientRequests(Output):
    """The last requests of this machine's clients, the newest first."""

    requests: list[ClientRequest]
