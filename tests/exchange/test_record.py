"""What an observer of a worker is told of each exchange, over both versions of HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from pounce.exchange.record import ExchangeRecord
from tests.exchange.test_http_cycle import BODY, START, make

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def observe() -> tuple[Any, list[ExchangeRecord]]:
    records: list[ExchangeRecord] = []
    return make(observers=[records.append])[0], records


async def test_a_record_of_a_whole_exchange() -> None:
    """Status, sizes of both bodies, and times in the order of events; told once, when all was given."""
    cycle, records = await observe()
    cycle.on_body(b"four")
    cycle.on_end()
    await cycle.send(START)
    await cycle.send({**BODY, "more_body": True})
    assert records == []
    await cycle.send(BODY)
    cycle.on_disconnect()
    (record,) = records
    assert (record.status, record.bytes_in, record.bytes_out, record.is_complete) == (200, 4, 2, True)
    assert record.scope is cycle.scope
    assert record.first_byte_at is not None
    assert record.end_at is not None
    assert record.head_at <= record.first_byte_at <= record.end_at


async def test_a_record_of_a_body_that_is_none() -> None:
    """An app may send it for an empty one, observed or not."""
    cycle, records = await observe()
    await cycle.send(START)
    await cycle.send({**BODY, "body": None})
    (record,) = records
    assert (record.bytes_out, record.is_complete) == (0, True)


async def test_a_record_of_an_exchange_that_breaks_off() -> None:
    """A client that leaves ends it; what there was of it counts."""
    cycle, records = await observe()
    await cycle.send(START)
    await cycle.send({**BODY, "more_body": True})
    cycle.on_disconnect()
    cycle.on_disconnect()
    (record,) = records
    assert (record.status, record.bytes_out, record.is_complete) == (200, 1, False)


async def test_a_record_of_an_app_that_fails() -> None:
    """The 500 is the server's, and counted."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError

    records: list[ExchangeRecord] = []
    cycle, _ = make(app, observers=[records.append])
    await cycle.run()
    (record,) = records
    assert (record.status, record.is_complete) == (500, True)


async def test_a_record_of_a_response_that_is_never_ended() -> None:
    """It is over when the app is."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)

    records: list[ExchangeRecord] = []
    cycle, _ = make(app, observers=[records.append])
    await cycle.run()
    (record,) = records
    assert (record.status, record.is_complete) == (200, False)


async def test_an_observer_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """It is heard of in one line; the exchange ends, and the others are told."""

    def fail(record: ExchangeRecord) -> None:
        raise ValueError

    records: list[ExchangeRecord] = []
    cycle, channel = make(observers=[fail, records.append])
    await cycle.send(START)
    await cycle.send(BODY)
    assert len(records) == 1
    assert channel.calls[-1] == "complete"
    assert capsys.readouterr().err == "Observer of exchanges (it could not be logged: ValueError)\n"


async def test_nobody_observes() -> None:
    """Then there is no record."""
    assert make()[0].record is None
