"""Apps made by chance: a list of steps, of which each sends a message, receives one, waits, fails or returns."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from hypothesis import strategies as st

from pounce.errors import ClientDisconnected

Step = dict[str, Any] | str


class Plan(NamedTuple):
    """What the app does; `goes_on` where it catches what `send` raises."""

    steps: list[Step]
    goes_on: bool


class Failed(Exception):
    """Of an app that does so."""


FIELDS = st.lists(
    st.sampled_from([
        (b"x", b"y"), (b"content-length", b"0"), (b"content-length", b"3"), (b"content-length", b"70000"),
        (b"content-length", b"x"), (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip"),
        (b"connection", b"close"), (b"upgrade", b"x"), (b"X-Upper", b"y"), (b"", b"y"),
        (b"x", b"a\r\nb: c"), (b"x", b"\xc3\xa9"), (b"a b", b"c"), (b":status", b"200"),
    ]),
    max_size=2,
    unique_by=lambda field: field[0].lower(),
)  # fmt: skip
STATUSES = st.sampled_from((200, 200, 200, 201, 204, 304, 404, 500, 599, 99, 100, 101, 103, 600, 999))
BODIES = st.sampled_from((b"", b"abc", b"abc", b"y" * 70000))
OTHERS = st.sampled_from(("receive", "wait", "wait", "fail", "return"))


def starts(kind: str) -> st.SearchStrategy[Step]:
    """The head of a response."""
    return st.builds(lambda status, headers: {"type": kind, "status": status, "headers": headers}, STATUSES, FIELDS)


def bodies(kind: str) -> st.SearchStrategy[Step]:
    """A part of its body."""
    return st.builds(lambda body, more: {"type": kind, "body": body, "more_body": more}, BODIES, st.booleans())


def plans(*steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Plan]:
    """Of such steps, and those that any app may take."""
    return st.builds(Plan, st.lists(st.one_of(*steps, *steps, OTHERS), max_size=8), st.booleans())


async def run(plan: Plan, receive: Any, send: Any) -> None:
    """Be that app. `send` may raise nothing but what it says: RuntimeError, or that the client is gone."""
    for step in plan.steps:
        if step == "receive":
            await receive()
        elif step == "wait":
            await asyncio.sleep(0)
        elif step == "fail":
            raise Failed
        elif step == "return":
            return
        else:
            try:
                await send(step)
            except (RuntimeError, ClientDisconnected):
                if not plan.goes_on:
                    raise
            except Exception as exc:
                raise AssertionError(f"send() raised {exc!r}") from exc
