"""The decisions of the supervisor, on processes that exist only as far as it looks at them, and a clock of our own."""

from __future__ import annotations

import itertools
import logging
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pounce.config.config import Config
from pounce.errors import NEEDS_PROCESSES, STARTUP_FAILURE
from pounce.supervisors import generation, processes, retirement, server_process, succession
from pounce.supervisors.processes import Multiprocess
from pounce.supervisors.server_process import Health, StuckWorker
from pounce.supervisors.succession import TIMEOUT_STARTUP, TIMEOUT_STARTUP_SILENCE
from tests.supervisors.apps import app

STUCK = Health(True, (StuckWorker("pounce-worker-1", 6.0, '  File "app.py", line 7, in handler\n'),))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeProcess(server_process.Process):
    """A process whose health, readiness and end the test decides."""

    made: list[FakeProcess] = []
    pids = itertools.count(100)
    clock: Clock
    error: OSError | None = None

    def __init__(self, config: Any, sockets: Any, **kwargs: Any) -> None:
        super().__init__(config, sockets, **kwargs)
        self._close()
        self.fake = SimpleNamespace(pid=None, exitcode=None)
        self.process = self.fake  # type: ignore[assignment]
        self.answer: Health | None = None
        self.told: list[str] = []

    def start(self) -> None:
        if FakeProcess.error is not None:
            raise FakeProcess.error
        self.fake.pid = next(self.pids)
        self.started_at = self.clock.now
        self.workers = self.config.workers
        self.made.append(self)

    def _healthcheck(self, timeout: float) -> Health | None:
        if self._asked_at is None:
            self._asked_at = self.clock.now
        if self.answer is not None:
            self._asked_at = None
            self.was_ready = self.was_ready or self.answer.started
        return self.answer

    def terminate(self) -> None:
        if self.exitcode is None:
            self.told.append("terminate")

    def interrupt(self) -> None:
        self.told.append("interrupt")

    def kill(self) -> None:
        self.told.append("kill")

    def dies(self, code: int) -> None:
        self.fake.exitcode = code

    def has_said_that_it_serves(self) -> FakeProcess:
        """By its own word, read or not; it has not answered since."""
        self.was_ready = True
        return self

    def serves(self) -> FakeProcess:
        self.answer = Health(True)
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = FakeProcess.clock = Clock()
    monkeypatch.setattr(processes, "time", clock)
    monkeypatch.setattr(server_process, "time", clock)
    monkeypatch.setattr(retirement, "time", clock)
    monkeypatch.setattr(generation, "time", clock)
    monkeypatch.setattr(generation, "Process", FakeProcess)
    monkeypatch.setattr(FakeProcess, "made", [])
    monkeypatch.setattr(FakeProcess, "error", None)
    return clock


Supervise = Callable[..., Multiprocess]


@pytest.fixture
def supervise(clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Supervise:
    """A supervisor whose first processes serve, with one turn of its loop behind it."""
    caplog.set_level(logging.INFO, "uvicorn.error")

    def make(worker_class: str = "process", workers: int = 2, serving: bool = True, **settings: Any) -> Multiprocess:
        config = Config(app, workers=workers, worker_class=worker_class, log_config=None, **settings)  # type: ignore[arg-type]
        if worker_class == "auto":
            monkeypatch.setattr(
                type(config),
                "effective_worker_class",
                property(lambda config: "process" if config.worker_class == "process" else "thread"),
            )
        supervisor = Multiprocess(config, [])
        supervisor.init_processes()
        if serving:
            for process in FakeProcess.made:
                process.serves()
            turn(supervisor)
        caplog.clear()
        return supervisor

    return make


def turn(supervisor: Multiprocess, seconds: float = 1.0) -> None:
    """One turn of the supervisor's loop, after some time has passed."""
    FakeProcess.clock.now += seconds
    supervisor.handle_signals()
    supervisor.keep_subprocess_alive()


def pids(supervisor: Multiprocess) -> list[int | None]:
    return [process.pid for process in supervisor.processes]


# Deaths


def test_a_dead_process_is_replaced_at_once(supervise: Supervise, caplog: pytest.LogCaptureFixture) -> None:
    """A crash costs one turn of the loop, and its neighbour nothing."""
    supervisor = supervise()
    first, second = supervisor.processes
    first.dies(-9)  # type: ignore[attr-defined]
    turn(supervisor, 0.0)
    assert first not in supervisor.processes
    assert supervisor.processes[1] is second
    assert caplog.messages == [f"Child process [{first.pid}] died"]


def test_deaths_before_serving_are_backed_off(supervise: Supervise) -> None:
    """A process that crashes again and again in its start is started again later and later."""
    supervisor = supervise(workers=1, serving=False)
    waits: list[float] = []
    for _ in range(6):
        FakeProcess.made[-1].dies(-11)
        count, begun = len(FakeProcess.made), FakeProcess.clock.now
        turn(supervisor, 0.0)
        while len(FakeProcess.made) == count:
            turn(supervisor, 0.25)
        waits.append(FakeProcess.clock.now - begun)
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(("lived", "waited"), [(0.0, 0.5), (0.25, 0.25), (0.5, 0.0), (3.0, 0.0)])
def test_deaths_of_what_has_served_are_not_backed_off(supervise: Supervise, lived: float, waited: float) -> None:
    """A request that kills costs half a second between two starts at most, however often it comes."""
    supervisor = supervise(workers=1, serving=False)
    for _ in range(12):
        count, begun = len(FakeProcess.made), FakeProcess.clock.now + lived
        FakeProcess.clock.now = begun
        FakeProcess.made[-1].has_said_that_it_serves().dies(-11)
        turn(supervisor, 0.0)
        while len(FakeProcess.made) == count:
            turn(supervisor, 0.125)
        assert FakeProcess.clock.now - begun == waited


def test_a_long_life_ends_the_backoff(supervise: Supervise) -> None:
    """Crashes that lie far apart are each repaired at once."""
    supervisor = supervise(workers=1)
    for _ in range(4):
        FakeProcess.made[-1].serves()
        turn(supervisor, 10.0)
        FakeProcess.made[-1].dies(-11)
        turn(supervisor, 0.0)
    assert len(FakeProcess.made) == 5


def test_a_clean_end_is_never_backed_off(supervise: Supervise) -> None:
    """A server that ended by itself with exit code 0 has done its share of requests, however quickly."""
    supervisor = supervise(workers=1)
    for _ in range(4):
        FakeProcess.made[-1].serves()
        turn(supervisor, 1.0)
        FakeProcess.made[-1].dies(0)
        turn(supervisor, 0.0)
    assert len(FakeProcess.made) == 5


@pytest.mark.parametrize("code", [STARTUP_FAILURE, 1])
def test_a_failed_first_start_stops_everything(
    supervise: Supervise, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """Before anything has ever served, an error exit means that the app does not start: no restart loop, exit 3."""
    supervisor = supervise(serving=False)
    FakeProcess.made[0].dies(code)
    turn(supervisor)
    assert supervisor.should_exit.is_set()
    assert (supervisor.startup_failed, supervisor.exit_code) == (True, 3)
    assert len(FakeProcess.made) == 2
    assert caplog.messages == [
        f"Child process [{FakeProcess.made[0].pid}] failed to start, stopping the parent process."
    ]


@pytest.mark.parametrize(("code", "stops"), [(STARTUP_FAILURE, True), (1, False)])
def test_a_replacement_that_fails_to_start(supervise: Supervise, code: int, stops: bool) -> None:
    """Once the app has served, only the exit code for failed startups ends the parent, as with uvicorn."""
    supervisor = supervise()
    FakeProcess.made[0].dies(-9)
    turn(supervisor, 10.0)
    FakeProcess.made[-1].dies(code)
    turn(supervisor)
    assert supervisor.should_exit.is_set() is stops


def test_exit_code_3_of_a_server_that_had_started_is_a_crash(supervise: Supervise) -> None:
    """An app may end its process with any code while it serves; that is no failed startup."""
    supervisor = supervise()
    FakeProcess.made[0].dies(STARTUP_FAILURE)
    turn(supervisor)
    assert not supervisor.should_exit.is_set()
    assert len(FakeProcess.made) == 3


@pytest.mark.parametrize("code", [STARTUP_FAILURE, 1, NEEDS_PROCESSES, 0, -9])
@pytest.mark.parametrize("worker_class", ["process", "thread", "auto"])
def test_a_death_behind_the_word_is_no_failed_start(supervise: Supervise, worker_class: str, code: int) -> None:
    """Who has said that it serves is replaced by its like, also where the parent had not heard that yet."""
    supervisor = supervise(worker_class, serving=False)
    first = FakeProcess.made[0].has_said_that_it_serves()
    first.dies(code)
    turn(supervisor, 10.0)
    assert not supervisor.should_exit.is_set()
    assert supervisor.exit_code == 0
    assert first not in supervisor.processes
    assert len(FakeProcess.made) == (3 if worker_class == "process" else 2)
    assert supervisor.generation.worker_class == ("process" if worker_class == "process" else "thread")


def test_an_extra_process_that_has_served_is_replaced(supervise: Supervise) -> None:
    """One that SIGTTIN added counts like the others from its first request on."""
    supervisor = supervise()
    supervisor.handle_ttin()
    FakeProcess.made[2].has_said_that_it_serves().dies(1)
    turn(supervisor)
    assert len(supervisor.processes) == 3
    assert FakeProcess.made[3] in supervisor.processes


def test_a_process_that_cannot_be_started_is_tried_again(
    supervise: Supervise, caplog: pytest.LogCaptureFixture
) -> None:
    """A system out of processes does not end the parent."""
    supervisor = supervise(workers=1)
    FakeProcess.error = OSError("Resource temporarily unavailable")
    FakeProcess.made[0].dies(-9)
    turn(supervisor)
    assert caplog.messages[-1] == "Could not start a child process: Resource temporarily unavailable"
    FakeProcess.error = None
    turn(supervisor, 5.0)
    assert len(FakeProcess.made) == 2
    assert supervisor.processes == [FakeProcess.made[1]]


# Health


def test_a_silent_process_is_killed_and_replaced(supervise: Supervise) -> None:
    """A process whose answering thread gets no turn for the health check's timeout is beyond help."""
    supervisor = supervise(timeout_worker_healthcheck=2)
    process = FakeProcess.made[0]
    process.answer = None
    turn(supervisor, 1.0)
    turn(supervisor, 2.0)
    assert process.told == []
    turn(supervisor, 0.5)
    assert process.told == ["kill"]
    assert process not in supervisor.processes


def test_a_starting_process_may_be_silent_for_longer(supervise: Supervise) -> None:
    """An import that holds the GIL is no reason to kill, until a limit of its own."""
    supervisor = supervise(serving=False, workers=1, timeout_worker_healthcheck=1)
    process = FakeProcess.made[0]
    turn(supervisor)
    turn(supervisor, TIMEOUT_STARTUP_SILENCE)
    assert process.told == []
    turn(supervisor, 0.5)
    assert process.told == ["kill"]


def test_the_word_ends_the_patience_for_starts(supervise: Supervise) -> None:
    """A process that has said that it serves, and then answers nothing, has the limit of those that serve."""
    supervisor = supervise(serving=False, workers=1, timeout_worker_healthcheck=1)
    process = FakeProcess.made[0].has_said_that_it_serves()
    turn(supervisor)
    assert process.told == []
    turn(supervisor, 1.5)
    assert process.told == ["kill"]


def test_a_long_startup_that_answers_is_left_alone(supervise: Supervise) -> None:
    """Loading a model for an hour is a startup, as long as the process says that it is at it."""
    supervisor = supervise(serving=False, workers=1)
    FakeProcess.made[0].answer = Health(False)
    for _ in range(60):
        turn(supervisor, 60.0)
    assert FakeProcess.made[0].told == []
    assert len(FakeProcess.made) == 1


def test_a_stuck_loop_in_a_process_is_logged_killed_and_replaced(
    supervise: Supervise, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the worker and where it is stuck before its process goes."""
    supervisor = supervise()
    process = FakeProcess.made[0]
    process.answer = STUCK
    turn(supervisor)
    assert process.told == []  # It may have been the whole machine that stood still.
    turn(supervisor)
    assert process.told == ["kill"]
    assert process not in supervisor.processes
    assert caplog.messages[0] == (
        f"Worker pounce-worker-1 of child process [{process.pid}] is stuck: its event loop has not turned for 6.0 "
        'seconds. Replacing it. Its stack:\n  File "app.py", line 7, in handler'
    )


def test_one_overdue_heartbeat_is_forgiven(supervise: Supervise) -> None:
    """A loop that turns again before the next look is not stuck."""
    supervisor = supervise()
    process = FakeProcess.made[0]
    for answer in (STUCK, Health(True), STUCK, Health(True)):
        process.answer = answer
        turn(supervisor)
    assert process.told == []


def test_a_stuck_thread_is_replaced_new_first(supervise: Supervise, caplog: pytest.LogCaptureFixture) -> None:
    """A thread cannot be killed: its process serves with the others until the next generation is ready."""
    supervisor = supervise("thread", workers=4)
    old = FakeProcess.made[0]
    old.answer = STUCK
    for _ in range(5):
        turn(supervisor)
    assert len([message for message in caplog.messages if "is stuck" in message]) == 1
    assert supervisor.processes == [old]
    assert old.told == []
    (new,) = FakeProcess.made[1:]
    new.serves()
    turn(supervisor)
    assert supervisor.processes == [new]
    assert old.told == ["terminate"]
    turn(supervisor, succession.TIMEOUT_RETIRE_UNFIT + 1)
    assert old.told == ["terminate", "kill"]


def test_a_stuck_generation_is_tried_again(supervise: Supervise) -> None:
    """A replacement that fails does not leave a stuck loop for ever."""
    supervisor = supervise("thread")
    FakeProcess.made[0].answer = STUCK
    turn(supervisor)
    turn(supervisor)
    FakeProcess.made[1].dies(1)
    turn(supervisor)
    turn(supervisor, 0.1)
    assert len(FakeProcess.made) == 2
    turn(supervisor, 40.0)
    assert len(FakeProcess.made) == 3


# Successions


def test_a_restart_replaces_one_after_the_other(supervise: Supervise) -> None:
    """SIGHUP with processes: each new one serves before the old one is told to end, and before the next one starts."""
    supervisor = supervise()
    first, second = FakeProcess.made
    supervisor.signal_queue.append(signal.SIGHUP)
    turn(supervisor)
    assert len(FakeProcess.made) == 3
    assert first.told == []
    FakeProcess.made[2].serves()
    turn(supervisor)
    assert (first.told, second.told) == (["terminate"], [])
    assert len(FakeProcess.made) == 4
    FakeProcess.made[3].serves()
    turn(supervisor)
    assert supervisor.processes == FakeProcess.made[2:]
    assert second.told == ["terminate"]
    turn(supervisor)
    assert len(FakeProcess.made) == 4


def test_a_failed_restart_keeps_the_old_process(supervise: Supervise, caplog: pytest.LogCaptureFixture) -> None:
    """New code that does not start changes nothing but the log."""
    supervisor = supervise()
    before = pids(supervisor)
    supervisor.restart_all()
    new = FakeProcess.made[2]
    new.dies(STARTUP_FAILURE)
    turn(supervisor)
    assert pids(supervisor) == before
    assert not supervisor.should_exit.is_set()
    assert caplog.messages == [
        f"New child process [{new.pid}] ended with exit code 3 before it was ready; keeping worker [{before[0]}] and "
        "aborting the restart."
    ]
    turn(supervisor, 100.0)
    assert len(FakeProcess.made) == 3


def test_a_successor_that_dies_of_its_first_request_changes_nothing(
    supervise: Supervise, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have served before the parent knew; the old process is kept, and the log says how it was."""
    supervisor = supervise("auto")
    (old,) = supervisor.processes
    supervisor.restart_all()
    new = FakeProcess.made[1].has_said_that_it_serves()
    new.dies(NEEDS_PROCESSES)
    turn(supervisor)
    assert supervisor.processes == [old]
    assert supervisor.generation.worker_class == "thread"
    assert caplog.messages == [
        f"New child process [{new.pid}] ended with exit code 4 as soon as it served; keeping worker [{old.pid}] and "
        "aborting the restart."
    ]


def test_successors_that_die_of_their_first_request_are_not_backed_off(supervise: Supervise) -> None:
    """A stuck thread is replaced as soon as its successor lives for more than one request."""
    supervisor = supervise("thread")
    FakeProcess.made[0].answer = STUCK
    turn(supervisor)
    turn(supervisor)
    for count in range(2, 12):
        assert len(FakeProcess.made) == count
        FakeProcess.made[-1].has_said_that_it_serves().dies(1)
        turn(supervisor, 0.0)
        turn(supervisor, 0.5)


@pytest.mark.parametrize(
    ("answer", "limit"), [(Health(False), TIMEOUT_STARTUP), (None, TIMEOUT_STARTUP_SILENCE)], ids=["slow", "silent"]
)
def test_a_successor_has_a_limit(
    supervise: Supervise, caplog: pytest.LogCaptureFixture, answer: Health | None, limit: float
) -> None:
    """A successor that never becomes ready is given up in the end; the old one is kept."""
    supervisor = supervise(workers=1)
    old = FakeProcess.made[0]
    supervisor.restart_all()
    new = FakeProcess.made[1]
    new.answer = answer
    turn(supervisor, limit - 1.0)
    assert new.told == []
    turn(supervisor, 2.0)
    assert new.told == ["terminate"]
    assert supervisor.processes == [old]
    assert (
        f"New child process [{new.pid}] was not ready in time; keeping worker [{old.pid}] and aborting the restart."
        in caplog.messages
    )


def test_a_second_restart_begins_anew(supervise: Supervise) -> None:
    """The code may have changed between two SIGHUPs: a successor that still starts is given up for a newer one."""
    supervisor = supervise(workers=1)
    supervisor.restart_all()
    supervisor.restart_all()
    given_up, new = FakeProcess.made[1:]
    assert given_up.told == ["terminate"]
    new.serves()
    turn(supervisor)
    assert supervisor.processes == [new]


def test_a_crash_during_a_restart_promotes_the_successor(supervise: Supervise) -> None:
    """When the old process dies meanwhile, the one that is starting takes its place: no third one is started."""
    supervisor = supervise(workers=1)
    supervisor.restart_all()
    old, new = FakeProcess.made
    old.dies(-9)
    turn(supervisor)
    assert supervisor.processes == [new]
    assert len(FakeProcess.made) == 2
    assert new.told == []


def test_a_restart_during_a_backoff_ends_it(supervise: Supervise) -> None:
    """SIGHUP after fixing what crashed does not wait for the back-off to run out."""
    supervisor = supervise(workers=1)
    for _ in range(6):
        FakeProcess.made[-1].dies(-11)
        turn(supervisor, 0.0)
        turn(supervisor, 20.0) if supervisor.processes[0].exitcode is not None else None
        FakeProcess.made[-1].started_at = FakeProcess.clock.now
    FakeProcess.made[-1].dies(-11)
    turn(supervisor, 0.0)
    count = len(FakeProcess.made)
    turn(supervisor, 0.0)
    assert len(FakeProcess.made) == count
    supervisor.restart_all()
    turn(supervisor, 0.0)
    assert len(FakeProcess.made) == count + 1


def test_a_process_is_recycled_new_first(supervise: Supervise, caplog: pytest.LogCaptureFixture) -> None:
    """A process that has served its share keeps serving until its successor does."""
    supervisor = supervise(workers=1)
    old = FakeProcess.made[0]
    old.answer = Health(True, recycle=True)
    turn(supervisor)
    turn(supervisor)
    new = FakeProcess.made[1]
    assert old.told == []
    new.serves()
    turn(supervisor)
    assert supervisor.processes == [new]
    assert old.told == ["terminate"]
    assert len(FakeProcess.made) == 2
    assert caplog.messages[0] == f"Child process [{old.pid}] has served its share of requests, replacing it."


def test_a_drain_has_the_limits_of_the_config(supervise: Supervise) -> None:
    """A retired process is killed once the graceful timeout and a margin are over, and not before."""
    supervisor = supervise(workers=1, timeout_graceful_shutdown=5)
    supervisor.restart_all()
    old, new = FakeProcess.made
    new.serves()
    turn(supervisor)
    turn(supervisor, 5.0 + succession.TIMEOUT_RETIRE_MARGIN - 1.0)
    assert old.told == ["terminate"]
    turn(supervisor, 2.0)
    assert old.told == ["terminate", "kill"]


def test_a_drain_without_limits_goes_on(supervise: Supervise) -> None:
    """Without a graceful timeout a client may keep a retired process for ever; the supervisor works on."""
    supervisor = supervise(workers=1)
    supervisor.restart_all()
    old, new = FakeProcess.made
    new.serves()
    turn(supervisor)
    turn(supervisor, 1e6)
    assert old.told == ["terminate"]
    supervisor.signal_queue.append(signal.SIGTERM)
    turn(supervisor)
    assert supervisor.should_exit.is_set()


# Sizes


def test_sigttin_and_sigttou_change_the_number_of_processes(supervise: Supervise) -> None:
    """One more, one less, never less than one."""
    supervisor = supervise()
    supervisor.signal_queue.append(signal.SIGTTIN)
    turn(supervisor)
    assert len(supervisor.processes) == 3
    for _ in range(4):
        supervisor.signal_queue.append(signal.SIGTTOU)
    turn(supervisor)
    assert supervisor.processes == FakeProcess.made[:1]
    assert [process.told for process in FakeProcess.made] == [[], ["terminate"], ["terminate"]]


def test_an_extra_process_that_fails_to_start_is_left_out(supervise: Supervise) -> None:
    """SIGTTIN with code that no longer starts does not end what serves."""
    supervisor = supervise()
    supervisor.handle_ttin()
    FakeProcess.made[2].dies(STARTUP_FAILURE)
    turn(supervisor)
    assert supervisor.processes == FakeProcess.made[:2]
    assert not supervisor.should_exit.is_set()
    assert supervisor.processes_num == 2


def test_sigttou_during_a_restart(supervise: Supervise) -> None:
    """The process that SIGTTOU takes away gets no successor."""
    supervisor = supervise()
    supervisor.restart_all()
    FakeProcess.made[2].serves()
    turn(supervisor)
    assert supervisor.generation.succession is not None
    assert supervisor.generation.succession.old is FakeProcess.made[1]
    supervisor.handle_ttou()
    FakeProcess.made[3].serves()
    turn(supervisor)
    assert supervisor.processes == [FakeProcess.made[2]]
    assert FakeProcess.made[3].told == ["terminate"]


def test_sigttin_with_threads_is_a_new_generation(supervise: Supervise) -> None:
    """The number of threads changes with a new process that is ready before the old one ends."""
    supervisor = supervise("thread", workers=2)
    assert supervisor.processes_num == 1
    supervisor.signal_queue.append(signal.SIGTTIN)
    turn(supervisor)
    old, new = FakeProcess.made
    assert (old.workers, new.workers) == (2, 3)
    assert old.told == []
    new.serves()
    turn(supervisor)
    assert supervisor.processes == [new]


def test_a_failed_resize_keeps_the_number(supervise: Supervise) -> None:
    """After a SIGTTIN that came to nothing, the next generation has as many threads as run now."""
    supervisor = supervise("thread", workers=2)
    supervisor.handle_ttin()
    FakeProcess.made[1].dies(1)
    turn(supervisor)
    assert supervisor.config.workers == 2
    assert supervisor.processes == FakeProcess.made[:1]


def test_sigttou_with_threads_stops_at_one(supervise: Supervise) -> None:
    """A process without a worker would serve nobody."""
    supervisor = supervise("thread", workers=1)
    supervisor.handle_ttou()
    assert supervisor.config.workers == 1
    assert len(FakeProcess.made) == 1


# Threads that have to be processes


def test_the_first_generation_falls_back_to_processes(supervise: Supervise, caplog: pytest.LogCaptureFixture) -> None:
    """With `auto`, an app that cannot run in threads is served by as many processes."""
    supervisor = supervise("auto", workers=3, serving=False)
    assert len(FakeProcess.made) == 1
    FakeProcess.made[0].dies(NEEDS_PROCESSES)
    turn(supervisor)
    assert supervisor.processes == FakeProcess.made[1:]
    assert [process.worker_class for process in supervisor.processes] == ["process"] * 3
    assert supervisor.config.worker_class == "process"
    assert not supervisor.should_exit.is_set()
    assert caplog.messages == [
        f"Child process [{FakeProcess.made[0].pid}] cannot run this app in threads, running 3 processes."
    ]


def test_a_restart_falls_back_to_processes(supervise: Supervise) -> None:
    """New code that cannot run in threads: the next generation is processes, all ready before the threads end."""
    supervisor = supervise("auto", workers=2)
    supervisor.restart_all()
    old, failed = FakeProcess.made
    failed.dies(NEEDS_PROCESSES)
    turn(supervisor)
    one, two = FakeProcess.made[2:]
    one.serves()
    turn(supervisor)
    assert supervisor.processes == [old]
    two.serves()
    turn(supervisor)
    assert supervisor.processes == [one, two]
    assert old.told == ["terminate"]
    supervisor.handle_ttin()
    assert len(supervisor.processes) == 3


def test_a_serving_generation_falls_back_to_processes(supervise: Supervise) -> None:
    """A server that finds out late (a lazy import) serves on until the processes do."""
    supervisor = supervise("auto", workers=2)
    old = FakeProcess.made[0]
    old.answer = Health(True, needs_processes=True)
    turn(supervisor)
    assert len(FakeProcess.made) == 3
    for process in FakeProcess.made[1:]:
        process.serves()
    turn(supervisor)
    assert supervisor.processes == FakeProcess.made[1:]
    assert old.told == ["terminate"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_start_that_gives_way_is_no_failure(
    supervise: Supervise, caplog: pytest.LogCaptureFixture, begun: bool
) -> None:
    """A process that says during its start that it needs processes, and then ends: its heirs take its place."""
    supervisor = supervise("auto", workers=2, serving=False)
    old = FakeProcess.made[0]
    old.answer = Health(False, needs_processes=True)
    turn(supervisor)
    assert len(FakeProcess.made) == 3
    if not begun:
        supervisor.generation.discard_succession()
    old.dies(NEEDS_PROCESSES)
    turn(supervisor)
    assert not supervisor.should_exit.is_set()
    assert not supervisor.startup_failed
    assert supervisor.processes == FakeProcess.made[-2:]
    assert len(FakeProcess.made) == (3 if begun else 5)
    assert [process.worker_class for process in supervisor.processes] == ["process"] * 2
    assert not any("died" in message or "failed" in message for message in caplog.messages)


def test_an_explicit_thread_class_does_not_fall_back(supervise: Supervise) -> None:
    """Who asks for threads by name gets threads or an error."""
    supervisor = supervise("thread", serving=False)
    FakeProcess.made[0].dies(NEEDS_PROCESSES)
    turn(supervisor)
    assert supervisor.startup_failed


# The end


def test_the_end_obeys_a_second_signal(
    supervise: Supervise, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop a second time, the parent has the children force quit, and kills those that still do not end."""
    supervisor = supervise(workers=1)
    process = FakeProcess.made[0]
    log: list[tuple[float, list[str]]] = []
    begun = FakeProcess.clock.now

    def sleep(timeout: float) -> None:
        FakeProcess.clock.now += timeout
        passed = FakeProcess.clock.now - begun
        log.append((passed, list(process.told)))
        if passed == 100.0:
            supervisor.signal_queue.append(signal.SIGTERM)
        if "kill" in process.told:
            process.dies(-9)

    monkeypatch.setattr(supervisor, "_sleep", sleep)
    supervisor.should_exit.set()
    supervisor.signal_queue.append(signal.SIGTERM)  # an echo of the first signal
    supervisor._end()
    assert supervisor.exit_code == 1
    told_at = {words[-1]: passed for passed, words in reversed(log)}
    assert told_at == {"terminate": 0.25, "interrupt": 100.25, "kill": pytest.approx(100.8 + 0.25)}
    assert "Told to stop again, not waiting for requests any longer." in caplog.messages


def test_the_end_keeps_to_the_graceful_timeout(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serving, retired and starting processes are all gone when the time is up."""
    supervisor = supervise(workers=1, timeout_graceful_shutdown=5)
    supervisor.restart_all()
    FakeProcess.made[1].serves()
    turn(supervisor)
    supervisor.restart_all()
    assert len(FakeProcess.made) == 3
    begun = FakeProcess.clock.now

    def sleep(timeout: float) -> None:
        FakeProcess.clock.now += timeout
        for process in FakeProcess.made:
            if "kill" in process.told:
                process.dies(-9)

    monkeypatch.setattr(supervisor, "_sleep", sleep)
    supervisor._end()
    assert FakeProcess.clock.now - begun <= 5 + succession.TIMEOUT_RETIRE_MARGIN + 1
    assert [process.told for process in FakeProcess.made] == [["terminate", "kill"]] * 3


def end(supervisor: Multiprocess, monkeypatch: pytest.MonkeyPatch, *signals: signal.Signals) -> None:
    """Have it end; the signals arrive in turns of its loop. Processes that are killed die."""
    arriving = iter(signals)

    def sleep(timeout: float) -> None:
        FakeProcess.clock.now += timeout
        supervisor.signal_queue.extend(itertools.islice(arriving, 1))
        for process in FakeProcess.made:
            if "kill" in process.told and process.exitcode is None:
                process.dies(-9)

    monkeypatch.setattr(supervisor, "_sleep", sleep)
    supervisor._end()


def test_sigquit_waits_for_no_request(
    supervise: Supervise, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes are told twice in a row, and killed where that does not help; the exit code says so."""
    supervisor = supervise(timeout_graceful_shutdown=60)
    begun = FakeProcess.clock.now
    supervisor.signal_queue.append(signal.SIGQUIT)
    supervisor.handle_signals()
    assert supervisor.should_exit.is_set()
    end(supervisor, monkeypatch)
    assert FakeProcess.clock.now - begun < 1 + succession.TIMEOUT_FORCED
    assert [process.told for process in FakeProcess.made] == [["terminate", "interrupt", "kill"]] * 2
    assert caplog.messages[0] == "Received SIGQUIT, exiting without waiting for requests."
    assert supervisor.exit_code == 1


def test_sigquit_ends_the_wait_for_the_end(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also right behind the signal that began the end: it is no echo of that. A second one kills."""
    supervisor = supervise(workers=1)
    begun = FakeProcess.clock.now
    end(supervisor, monkeypatch, signal.SIGQUIT, signal.SIGWINCH, signal.SIGWINCH, signal.SIGWINCH, signal.SIGQUIT)
    assert FakeProcess.clock.now - begun < 2
    assert FakeProcess.made[0].told == ["terminate", "interrupt", "kill"]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(0, 0), (-signal.SIGTERM, 0), (-signal.SIGINT, 0), (128 + signal.SIGTERM, 0), (1, 1), (-9, 1), (-11, 1), (3, 1)],
)
def test_the_exit_code_tells_how_the_processes_ended(
    supervise: Supervise, monkeypatch: pytest.MonkeyPatch, code: int, exit_code: int
) -> None:
    """0 where all ended as they were told, by the signal or behind it; what died before is forgotten."""
    supervisor = supervise()
    supervisor.processes[0].respawn_at = FakeProcess.clock.now + 100
    FakeProcess.made[0].dies(-11)
    monkeypatch.setattr(supervisor, "_sleep", lambda _timeout: FakeProcess.made[1].dies(code))
    supervisor._end()
    assert supervisor.exit_code == exit_code


def test_old_callers_pass_a_target() -> None:
    """`Multiprocess(config, target=server.run, sockets=[...])`, as it was before uvicorn 0.30, still works."""
    supervisor = Multiprocess(Config(app, workers=2), target=print, sockets=[])
    assert supervisor.target is print


def test_a_process_that_ends_just_behind_the_look_at_it(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is looked at again at once: only those that run would wake the sleeper."""
    supervisor = supervise(workers=1)
    sleeps: list[float] = []

    def advance() -> None:
        if len(sleeps) == 1:
            FakeProcess.made[0].dies(-9)

    def sleep(timeout: float) -> None:
        sleeps.append(timeout)
        if len(sleeps) == 3:
            supervisor.should_exit.set()

    monkeypatch.setattr(supervisor, "init_processes", lambda: None)  # they are there
    monkeypatch.setattr(supervisor.generation, "advance", advance)
    monkeypatch.setattr(supervisor, "_sleep", sleep)
    monkeypatch.setattr(supervisor, "_end", lambda: None)
    supervisor.run()
    assert [timeout > 0 for timeout in sleeps] == [True, False, True]
    assert len(FakeProcess.made) == 2
