from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pounce.config.config import Config
from pounce.supervisors.server_process import STACK_SIZE, Process
from tests.supervisors.apps import ScriptedServer, app


class Server:
    """As much of a server as health checks look at."""

    def __init__(self) -> None:
        self.started = False
        self.ages: list[float] = []

    def heartbeats(self) -> list[tuple[str, float]]:
        return [(f"pounce-worker-{number}", age) for number, age in enumerate(self.ages)]

    def dump_stack(self, name: str) -> str:
        return f"first line of {name}\n" + "x" * 2 * STACK_SIZE + f"\nlast line of {name}"

    def run(self, sockets: Any) -> None:
        raise AssertionError("not called")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def process(server: Server) -> Iterator[Process]:
    process = Process(Config(app=app), [], target=server.run)
    yield process
    process._close()


@pytest.fixture
def answering(process: Process) -> Process:
    threading.Thread(target=process.always_pong, daemon=True).start()
    return process


def test_it_answers_before_it_is_ready(answering: Process, server: Server) -> None:
    """A process that still starts is alive but not ready."""
    assert answering.ping()
    assert not answering.is_ready()
    assert not answering.was_ready
    server.started = True
    assert answering.is_ready()
    assert answering.was_ready


def test_the_word_that_it_serves_outlives_the_child(process: Process) -> None:
    """It lies in a pipe that is read when somebody wants to know, also behind the child's end."""
    assert not process.has_served()
    process._report_start()
    process.child_conn.close()
    process._start_writer.close()
    assert not process.is_ready(0.01)
    assert process.has_served()
    assert process.has_served()


def test_the_word_is_taken_before_the_pipe_is_closed(process: Process) -> None:
    """A process that is told to end is known to have served by then."""
    process._report_start()
    process.kill()
    assert process.has_served()


def test_no_word_is_no_service(process: Process) -> None:
    """A child that ended without it has not served."""
    process._start_writer.close()
    assert not process.has_served()
    process._close()
    assert not process.has_served()


def test_silence_is_measured_from_the_open_question(process: Process) -> None:
    """A process that does not answer is silent for as long as the first question it was asked is open."""
    assert process.silent_for(time.monotonic()) == 0.0
    assert not process.ping(0.01)
    first = process.silent_for(time.monotonic())
    assert not process.ping(0.01)
    assert process.silent_for(time.monotonic()) > first > 0.0


def test_a_late_answer_ends_the_silence(process: Process) -> None:
    """Questions do not pile up: one late answer is enough, and no second one is owed."""
    assert not process.ping(0.01)
    assert not process.ping(0.01)
    process.pong()
    assert process.ping(1)
    assert process.silent_for(time.monotonic()) == 0.0
    assert not process.child_conn.poll()


def test_a_broken_pipe_is_silence(process: Process) -> None:
    """A child that closed its end cannot answer any more, which counts as not answering."""
    process.child_conn.close()
    assert not process.ping(0.1)
    assert process.silent_for(time.monotonic() + 10) >= 10


def test_observe_asks_no_more_often_than_told(process: Process) -> None:
    """Between two questions lies the interval; an answer is read whenever it is there."""
    now = time.monotonic()
    assert process.observe(now, 5.0) is None
    process.pong()
    assert process.observe(now, 5.0) is not None
    assert process.observe(now + 4.9, 5.0) is None
    assert not process.child_conn.poll()
    assert process.observe(now + 5.1, 5.0) is None
    assert process.child_conn.poll()


def test_stuck_workers_are_named_with_the_end_of_their_stack(answering: Process, server: Server) -> None:
    """Only loops that have not turned for longer than the health check allows are named, with a bounded stack."""
    server.started = True
    server.ages = [0.1, 5.1, 4.9]
    assert answering.ping()
    assert answering.health is not None
    (stuck,) = answering.health.stuck
    assert (stuck.name, stuck.age) == ("pounce-worker-1", 5.1)
    assert stuck.stack.endswith("last line of pounce-worker-1")
    assert len(stuck.stack) == STACK_SIZE


@pytest.mark.parametrize(
    ("attribute", "field"), [("wants_recycling", "recycle"), ("wants_processes", "needs_processes")]
)
def test_wishes_of_the_server_reach_the_parent(answering: Process, server: Server, attribute: str, field: str) -> None:
    """What a server wants of its supervisor is an attribute there and a field here, false where it is missing."""
    assert answering.ping()
    assert getattr(answering.health, field) is False
    setattr(server, attribute, True)
    assert answering.ping()
    assert getattr(answering.health, field) is True


def test_a_server_without_heartbeats_is_healthy(process: Process) -> None:
    """A server that knows nothing of heartbeats is not suspected for it."""

    class Old:
        started = True

    process._server = Old()
    assert process._current_health() == (True, (), False, False)


def test_a_plain_function_counts_as_ready(tmp_path: Path) -> None:
    """A target that is no server's method cannot say when it is ready, so it is."""
    process = Process(Config(app=app), [], target=print)
    assert process.server.started
    process._close()


def test_the_childs_copy_has_no_parent_end(process: Process) -> None:
    """What is pickled for the child leaves out the parent's end of the pipe, or its death would go unnoticed."""
    state = process.__getstate__()
    assert "child_conn" in state
    assert not {"parent_conn", "process"} & set(state)


def test_the_server_is_the_targets_owner(tmp_path: Path) -> None:
    """`target=server.run` runs that server, also after the journey to the child."""
    scripted = ScriptedServer(tmp_path)
    process = Process(Config(app=app), [], target=scripted.run)
    assert process.server is scripted
    assert pickle.loads(pickle.dumps(process._server)).folder == tmp_path
    process._close()


def test_ending_what_was_never_started_does_nothing(process: Process) -> None:
    """`terminate` and `kill` of a process that does not run are no errors."""
    process.terminate()
    process.kill()
    assert process.pid is None


def test_waiting_for_readiness_ends_early() -> None:
    """`wait_until_ready` does not wait for a process that is dead or about to be told to end."""
    process = Process(Config(app=app), [], target=print)
    should_exit = threading.Event()
    should_exit.set()
    begun = time.monotonic()
    assert process.wait_until_ready(30, should_exit) is False
    assert process.wait_until_ready(30) is False
    assert time.monotonic() - begun < 10
    process._close()


def test_the_child_serves_as_one_of_several() -> None:
    """In the child the server knows that it is supervised and serves one loop; not having started is exit code 3."""

    class Failing:
        started = False
        is_supervised = False

        def run(self, sockets: Any) -> None:
            assert sockets == []

    server = Failing()
    config = Config(app=app, workers=2, worker_class="auto")
    process = Process(config, [], target=server.run, worker_class="process")
    with pytest.raises(SystemExit) as exit_info:
        process.target([])
    assert exit_info.value.code == 3
    assert server.is_supervised is True
    assert config.worker_class == "process"
    process._close()
