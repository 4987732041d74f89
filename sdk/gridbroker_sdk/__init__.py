"""Gridbroker's API from Python: a small synchronous client on httpx.

    with Client("https://broker.example", key) as client:
        budget = {"amount": "12.50", "currency": "EUR"}
        submitted = client.submit({"name": "train", "command": ["python", "train.py"], "budget": budget})
        for view in client.watch(submitted["id"]):
            print(view["state"])

Answers are the API's JSON as it came. Refusals raise `ApiError`, a server out of reach raises `Unreachable`; both are `SdkError`.
What is busy (429, 503) is asked again, and so is what did not answer: every POST carries an Idempotency-Key, so nothing happens
twice.
"""

from gridbroker_sdk._client import ENDED, Client, Listing
from gridbroker_sdk._connection import is_loopback
from gridbroker_sdk._problem import ApiError, Problem, ProblemField, SdkError, Unreachable

__all__ = ["ENDED", "ApiError", "Client", "Listing", "Problem", "ProblemField", "SdkError", "Unreachable", "is_loopback"]
