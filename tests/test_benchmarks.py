"""The benchmark's pure parts: what it reads from wrk, h2load and /proc, what it computes, what it prints and draws."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command, machine, process, procfs
from benchmarks.apps import payload
from benchmarks.cases import BY_NAME as CASE, CASES
from benchmarks.environments import environ_for, last_error
from benchmarks.load import http2, websocket, wrk
from benchmarks.load.outcome import LoadError, Outcome, percentile
from benchmarks.measure import Cores
from benchmarks.plot import plot
from benchmarks.process import ServerProcess
from benchmarks.results import Report, Row, Sample
from benchmarks.servers import BY_NAME as SERVER, SERVERS, Launch
from benchmarks.table import table, tables

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FOUND = {
    "requests": 1000,
    "duration_us": 2_000_000,
    "bytes": 150_000,
    "connect_errors": 0,
    "read_errors": 0,
    "write_errors": 0,
    "status_errors": 0,
    "timeouts": 0,
    "mean_us": 16_000,  # 8 connections are being served at a time
    "p50_us": 400,
    "p99_us": 900,
    "p999_us": 1500,
}


def wrk_output(**changed: int) -> str:
    """What wrk prints with load.lua: its own lines, then ours."""
    words = " ".join(f"{key}={value}" for key, value in {**FOUND, **changed}.items())
    return f"Running 2s test @ http://127.0.0.1:8000/\n  1 threads and 32 connections\nresult {words}\n"


def sample(speed: float, cpu_us: float = 10.0, p50: float | None = 1.0) -> Sample:
    return Sample(speed, cpu_us, p50, 2.0, 3.0, 30 * 2**20)


def report(**rows: Row) -> Report:
    """One case, servers named with underscores for hyphens."""
    return Report({"python": "CPython"}, {"hello": {name.replace("_", "-"): row for name, row in rows.items()}})


def test_a_good_run_of_wrk_is_read() -> None:
    """Counts, the window in seconds and latencies in milliseconds come from the result line."""
    outcome = wrk.parse(wrk_output(), status=200, least_bytes=13)
    assert (outcome.requests, outcome.seconds) == (1000, 2.0)
    assert (outcome.p50, outcome.p99, outcome.p999) == (0.4, 0.9, 1.5)


def test_latencies_of_pipelined_requests_are_not_known() -> None:
    """wrk's figures for them mean nothing."""
    outcome = wrk.parse(wrk_output(), status=200, least_bytes=13, batch=16)
    assert (outcome.p50, outcome.p99, outcome.p999) == (None, None, None)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"connect_errors": 3}, "3 connect errors"),
        ({"read_errors": 2}, "2 read errors"),
        ({"write_errors": 1}, "1 write errors"),
        ({"timeouts": 4}, "4 requests timed out"),
        ({"status_errors": 5}, "5 of 1000 answers were not 200"),
        ({"bytes": 1000}, "answers of 1 bytes"),
        ({"requests": 31}, "it hung: 31 answers in all"),
        ({"mean_us": 4000}, "it starved connections: 2 of 32"),
    ],
)
def test_a_server_that_fails_is_not_fast(changed: dict[str, int], message: str) -> None:
    """Socket errors, a wrong status, answers that are too short, and connections that wait unserved are failures."""
    with pytest.raises(LoadError, match=message):
        wrk.parse(wrk_output(**changed), status=200, least_bytes=13, connections=32)


def test_a_404_that_is_expected_is_right() -> None:
    """Where the case is about 404, an answer with another status is the wrong one."""
    assert wrk.parse(wrk_output(status_errors=1000), status=404, least_bytes=9).requests == 1000
    with pytest.raises(LoadError, match="10 of 1000 answers were not 404"):
        wrk.parse(wrk_output(status_errors=990), status=404, least_bytes=9)


def test_every_pipelined_batch_is_waited_for() -> None:
    """A server that answers less than a batch on each connection hangs."""
    with pytest.raises(LoadError, match="it hung: 511"):
        wrk.parse(wrk_output(requests=511), status=200, least_bytes=13, connections=32, batch=16)


def test_wrk_without_a_result_is_a_failure() -> None:
    """An output without the result line says nothing."""
    with pytest.raises(LoadError, match="no result"):
        wrk.parse("unable to connect to 127.0.0.1:8000 Connection refused\n", status=200, least_bytes=0)


H2LOAD = """\
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 2.00s, 500.00 req/s, 4.01KB/s
requests: 1000 total, 1128 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1003 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 39.06KB (40000) total, 8.79KB (9000) headers (space savings 91.66%), 12.70KB (13000) data
                     min         max         mean         sd        +/- sd
time for request:      326us      4.45ms      1.16ms       489us    84.99%
req/s           :     100.25      132.50      125.00        6.10    75.00%
"""
H2LOAD_LOG = [f"1795421735691128\t200\t{100_000 + number * 200}\n" for number in range(1000)]


def h2load(output: str = H2LOAD, log: list[str] = H2LOAD_LOG) -> Outcome:
    return http2.parse(output, log, least_bytes=13, connections=4, streams=32)


def test_a_good_run_of_h2load_is_read() -> None:
    """Counts come from its output, latencies in milliseconds from its log, in whatever order."""
    outcome = h2load(log=H2LOAD_LOG[::-1])
    assert (outcome.requests, outcome.seconds) == (1000, 2.0)
    assert (outcome.p50, outcome.p99, outcome.p999) == (199.8, 297.8, 299.6)
    assert h2load(H2LOAD.replace("in 2.00s", "in 2000.00ms")).seconds == 2.0


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("0 failed", "7 failed", "^7 requests failed, 1000 were answered"),
        ("0 errored", "6 errored", "^6 requests met errors"),
        ("0 timeout", "5 timeout", "^5 requests timed out"),
        ("1128 started", "1130 started", "^2 requests were lost"),
        ("1000 done", "0 done", "^no request was answered"),
        ("1003 2xx", "990 2xx", "^10 of 1000 answers were not 2xx"),
        ("0 5xx", "1 5xx", "^1 of 1000 answers were not 2xx"),
        ("(13000) data", "(12000) data", "^bodies of 12 bytes, expected at least 13"),
        ("100.25", "0.00", "^it hung: not one answer on some of the 4"),
        ("in 2.00s", "in 9.00s", "^it starved streams: 22 of 128"),
        ("finished in", "ended in", "^h2load gave no duration"),
        ("requests:", "asked:", "^h2load gave no result"),
    ],
)
def test_a_server_that_fails_http2_is_not_fast(right: str, wrong: str, message: str) -> None:
    """Requests that failed or were lost, other statuses, short bodies and streams that wait unserved are failures."""
    assert right in H2LOAD
    with pytest.raises(LoadError, match=message):
        h2load(H2LOAD.replace(right, wrong))


def test_a_second_is_too_short_to_call_a_server_unfair() -> None:
    """One that answers slowly, a full set of streams at a time, has not come round to all connections by then."""
    slow = H2LOAD.replace("in 2.00s", "in 1.00s").replace("100.25", "0.00")
    assert h2load(slow, ["0\t200\t9\n"] * 1000).requests == 1000


def test_every_http2_answer_is_in_the_log() -> None:
    """Percentiles of a part would say nothing."""
    with pytest.raises(LoadError, match="logged 999 of 1000"):
        h2load(log=H2LOAD_LOG[1:])


def test_h2load_offers_http2_only() -> None:
    """Each word has its value, and a server without HTTP/2 cannot answer with HTTP/1.1."""
    words = http2.command("https://127.0.0.1:1/", 10, 100, 2.0, Path("/x.log"))
    pairs = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    assert words[-1] == "https://127.0.0.1:1/"
    assert (pairs["--clients"], pairs["--max-concurrent-streams"], pairs["--duration"]) == ("10", "100", "2s")
    assert (pairs["--npn-list"], pairs["--log-file"]) == ("h2", "/x.log")
    assert http2.url(CASE["h2c-hello"], 7) == "http://127.0.0.1:7/"
    assert http2.url(CASE["h2-tls-hello"], 7) == "https://127.0.0.1:7/"


def test_http2_is_asked_of_servers_that_have_it() -> None:
    """They are told of it in its cases only; the others are not in them."""
    cases = [case for case in CASES if case.streams]
    assert [case.name for case in cases] == ["h2c-hello", "h2-tls-hello"]
    able = {"pounce", "pounce-zuvloop", "uvicorn-best", "granian", "hypercorn"}
    for server in SERVERS:
        assert [case.takes(server) for case in cases] == [server.name in able] * 2
        if server.name in able:
            plain, asked = (server.command(Launch(Path("p"), "a:b", 1, http2=http2)) for http2 in (False, True))
            assert plain != asked, server.name
            assert not any("http2" in word for word in plain), server.name


@pytest.mark.parametrize("share, expected", [(0.5, 50), (0.99, 99), (0.999, 100), (0.0, 1), (1.0, 100)])
def test_a_percentile_is_a_value_that_occurred(share: float, expected: int) -> None:
    """The nearest rank, as wrk has it."""
    assert percentile(list(range(1, 101)), share) == expected
    assert percentile([7.0], share) == 7.0


def stat_line(name: str, parent: int, *times: int) -> str:
    """A /proc/PID/stat with that command name and utime, stime, cutime, cstime."""
    return f"42 ({name}) S {parent} 42 42 0 -1 4194560 1 2 3 4 {' '.join(map(str, times))} 20 0 9 0 123456 0 0\n"


@pytest.mark.parametrize("name", ["python", "a b", "a) R 1 (b", ""])
def test_a_process_may_have_any_name(name: str) -> None:
    """Blanks and parentheses in the command's name shift no field; children that ended count."""
    assert procfs.parse_stat(stat_line(name, 7, 100, 20, 3, 4)) == procfs.Stat(parent=7, ticks=127)


def test_proportional_memory_is_read_in_bytes() -> None:
    """`Pss` itself, not one of the lines that begin with it."""
    text = "00400000-7fff [rollup]\nRss:  9000 kB\nPss_Anon: 1 kB\nPss:   3000 kB\nPss_File: 2 kB\n"
    assert procfs.parse_pss(text) == 3000 * 1024
    with pytest.raises(ValueError, match="no Pss"):
        procfs.parse_pss("Rss: 1 kB\n")


def test_interrupts_are_no_process_time() -> None:
    """Busy is user, nice and system time of all processors together."""
    assert procfs.parse_busy("cpu  10 2 5 1000 9 9 9 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n") == 17


def test_a_tree_has_all_descendants_and_no_others() -> None:
    """Grandchildren belong to it, siblings do not, whatever the order."""
    parents = {1: 0, 10: 1, 30: 20, 20: 10, 11: 1, 40: 11}
    assert procfs.descendants(10, parents) == {10, 20, 30}


@on_linux
def test_the_processor_time_of_an_ended_child_is_kept() -> None:
    """What a child used moves to its parent when it ends."""
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    before = procfs.cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert procfs.cpu_seconds(os.getpid()) - before >= 0.15  # four figures, each rounded down to a clock tick
    assert procfs.busy_seconds() > 0
    assert procfs.memory(os.getpid()) > 2**20


def test_each_figure_has_its_own_median() -> None:
    """The median is per figure, and unknown where a sample does not know it."""
    row = Row([sample(100, 9.0), sample(300, 5.0), sample(200, 7.0, p50=None)])
    found = row.median
    assert found is not None
    assert (found.requests_per_second, found.cpu_us, found.p50, found.p99) == (200, 7.0, None, 2.0)


def test_a_failed_row_has_no_figures() -> None:
    """Samples of the rounds before the failure do not count."""
    assert Row([sample(100)], "3 read errors").median is None
    assert Row().median is None


def test_a_report_survives_saving() -> None:
    """JSON and back is the same report."""
    before = report(pounce=Row([sample(100.5, p50=None)]), daphne=Row([], "it did not start"))
    assert Report.from_json(before.as_json()) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"facts": {}, "cases": {"hello": {"pounce": {}}}}', '"x"'])
def test_what_is_no_report_is_refused(text: str) -> None:
    """With a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError):
        Report.from_json(text)


def test_reports_are_put_together() -> None:
    """Samples of the same row add up, other rows and cases are taken over."""
    first = report(pounce=Row([sample(100)]))
    other = report(pounce=Row([sample(200)]), uvicorn=Row([sample(50)]))
    other.cases["tls"] = {"pounce": Row([], "boom")}
    first.add(other)
    assert [found.requests_per_second for found in first.cases["hello"]["pounce"].samples] == [100, 200]
    assert list(first.cases["hello"]) == ["pounce", "uvicorn"]
    assert first.cases["tls"]["pounce"].failure == "boom"


def test_the_table_compares_to_pounce() -> None:
    """Ratios of requests per second and of processor time are to pounce's row."""
    lines = table({"pounce": Row([sample(2000, 10.0)]), "uvicorn": Row([sample(1000, 25.0)])}).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells == ["uvicorn", "1,000", "0.50", "25.0", "2.50", "1.00", "2.00", "3.00", "30.0"]


def test_a_failed_server_is_shown_as_failed() -> None:
    """In its row, and below the table with the reason."""
    text = tables(report(pounce=Row([sample(2000)]), daphne=Row([sample(9e9)], "2 read errors")))
    assert re.search(r"\| daphne \| +failed \|", text)
    assert "- daphne failed: 2 read errors" in text
    assert "9,000,000,000" not in text


def test_the_plot_draws_bars_to_scale() -> None:
    """Fastest first, half the speed is half the bar, a reference last, a failure has none."""
    rows = {"floor": Row([sample(8000)]), "uvicorn": Row([sample(2000)]), "daphne": Row([], "boom")}
    drawn = ElementTree.fromstring(plot(report(pounce=Row([sample(4000)]), **rows)))
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.attrib["width"]) for bar in drawn.findall(f"{space}rect")[1:]]
    assert len(widths) == 3
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    assert widths[2] == max(widths)
    words = [element.text for element in drawn.findall(f"{space}text")]
    assert [word for word in words if word in (*rows, "pounce")] == ["pounce", "uvicorn", "daphne", "floor"]
    assert "failed" in words


def test_an_empty_report_can_be_drawn() -> None:
    """And what is in it cannot break the drawing."""
    ElementTree.fromstring(plot(Report()))
    ElementTree.fromstring(plot(Report({"machine": "<&>"}, {"<&": {"a&b": Row([sample(1)])}})))


@pytest.mark.parametrize("size", [5, 125, 126, 65535, 65536])
def test_frames_of_the_websocket_load_are_right(size: int) -> None:
    """RFC 6455 section 5.2: the length's three forms, the mask bit, and a payload that unmasks to itself."""
    opened = websocket.head(size, masked=True)
    assert opened[0] == 0x82
    assert opened[1] & 0x80
    assert not websocket.head(size, masked=False)[1] & 0x80
    length = opened[1] & 0x7F
    if length > 125:
        length = int.from_bytes(opened[2:], "big")
    assert length == size
    payload = bytes(range(256)) * 2
    assert websocket.masked(websocket.masked(payload)) == payload
    assert websocket.masked(payload)[:4] == bytes(a ^ b for a, b in zip(payload, websocket.MASK, strict=False))


def answering(*answers: bytes) -> int:
    """The port of a server that takes one connection, and sends an answer to each thing it receives; then closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(ConnectionError), listener, listener.accept()[0] as connection:
            for answer in answers:
                if connection.recv(65536):
                    connection.sendall(answer)

    threading.Thread(target=serve).start()
    return int(listener.getsockname()[1])


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.mark.parametrize(
    "answers, message",
    [
        ((b"HTTP/1.1 403 Forbidden\r\n\r\n",), "403 Forbidden"),
        ((UPGRADE,), "closed the connection|reset"),
        ((UPGRADE, websocket.head(4, masked=False) + b"nope"), "not what was sent"),
        ((), "closed|reset"),
    ],
)
def test_a_server_that_does_not_echo_fails(answers: tuple[bytes, ...], message: str) -> None:
    """A refused handshake, a closed connection, another payload: no message is counted."""
    with pytest.raises((LoadError, ConnectionError), match=message):
        websocket.run(answering(*answers), size=4, connections=1, seconds=1)


def test_echoes_are_counted() -> None:
    """Each echo that came within the time is one message."""
    echo = websocket.head(4, masked=False) + bytes(range(4))
    found = websocket.run(answering(UPGRADE, *[echo] * 100_000), size=4, connections=1, seconds=0.05)
    assert found["requests"] > 0
    assert 0 < found["p50"] <= found["p99"] <= found["p999"]


def test_every_server_is_told_what_the_case_asks() -> None:
    """Address, app, workers and TLS files stand in every command line."""
    launch = Launch(Path("/env/python"), "plain:hello", 8123, certificate=Path("/tls/chain"), key=Path("/tls/key"))
    for server in SERVERS:
        line = " ".join(server.command(launch))
        assert line.startswith("/env/python "), server.name
        assert "8123" in line, server.name
        if not server.reference:
            assert "plain:hello" in line, server.name
            assert "/tls/chain" in line, server.name
            assert "/tls/key" in line, server.name


@pytest.mark.parametrize(
    "case, server, takes",
    [
        ("hello", "floor", True),
        ("post-echo", "floor", True),
        ("tls", "floor", False),
        ("ws-128", "pounce-wsproto", True),
        ("hello", "pounce-wsproto", False),
        ("ws-128", "pounce-h11", False),
        ("workers-hello", "daphne", False),
        ("workers-hello", "granian", True),
    ],
)
def test_cases_have_the_servers_that_belong(case: str, server: str, takes: bool) -> None:
    """The floor where its bytes are an answer, WebSocket backends in WebSocket cases."""
    assert CASE[case].takes(SERVER[server]) is takes


def test_every_case_has_pounce() -> None:
    """Which the ratios are to; and each serves an app that is there."""
    apps = Path(command.__file__).parent / "apps"
    for case in CASES:
        assert case.takes(SERVER["pounce"])
        module, _, name = case.app.partition(":")
        assert any(start in (apps / f"{module}.py").read_text() for start in (f"def {name}(", f"{name} = "))


def test_a_server_starts_without_the_settings_of_others() -> None:
    """Variables that would set it differently are gone; only pounce sees the checkout; the GIL is off where it can."""
    around = {"PATH": "/bin", "UVICORN_WORKERS": "4", "WEB_CONCURRENCY": "9", "PYTHONPATH": "/x", "PYTHON_GIL": "1"}
    peer = environ_for(SERVER["bengal-pounce"], free_threaded=False, environ=around)
    assert "PATH" in peer
    assert not {"UVICORN_WORKERS", "WEB_CONCURRENCY", "PYTHON_GIL"} & set(peer)
    assert peer["PYTHONPATH"].endswith("apps")
    own = environ_for(SERVER["pounce"], free_threaded=True, environ=around)
    assert own["PYTHON_GIL"] == "0"
    assert len(own["PYTHONPATH"].split(os.pathsep)) == 2


def test_pip_is_quoted_with_its_last_error() -> None:
    """One line, without its prefix."""
    assert last_error("pip install failed:\nERROR: no versions\nERROR: No matching distribution\nhint: x\n") == (
        "No matching distribution"
    )
    assert last_error("it does not run") == "it does not run"
    assert last_error("") == ""


@on_linux
def test_one_core_is_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one worker server and load share no core if there are two; several workers have all."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5})
    cores = Cores.available()
    assert (cores.of_server(CASE["hello"]), cores.of_load(CASE["hello"])) == ({2}, {3, 5})
    assert cores.of_server(CASE["workers-hello"]) == {2, 3, 5}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert Cores.available() == Cores(frozenset({0}), frozenset({0}))


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@on_linux
def test_no_process_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server that ignores SIGTERM nor its child outlives the measurement, even one that is broken off."""
    monkeypatch.setattr(process, "STOP_LIMIT", 0.05)

    def interrupted() -> None:
        if not server.log.read_text():
            raise ConnectionRefusedError
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        ServerProcess([sys.executable, "-c", STUBBORN], dict(os.environ), tmp_path, os.sched_getaffinity(0)) as server,
    ):
        server.await_ready(interrupted)
    child = int(server.log.read_text())
    for pid in (server.pid, child):
        deadline = time.monotonic() + 10
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only its entry until somebody asks how it ended."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@on_linux
def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    """With its last line."""

    def refused() -> Any:
        raise ConnectionRefusedError

    broken = [sys.executable, "-c", "import sys; sys.exit('no such app')"]
    with (
        ServerProcess(broken, dict(os.environ), tmp_path, os.sched_getaffinity(0)) as server,
        pytest.raises(LoadError, match="did not start: no such app"),
    ):
        server.await_ready(refused)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--cases", "hello,nosuch"], "'nosuch' is not one of: hello"),
        (["--servers", "apache"], "'apache' is not one of: pounce"),
        (["--rounds", "0"], "0 is not in the range"),
        (["--python", "/no/such/python"], "no interpreter at /no/such/python"),
        (["--load", __file__], "test_benchmarks.py: not a report"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line, with exit code 2."""
    monkeypatch.setattr(machine, "TOOLS", {})
    done = CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


@on_linux
@pytest.mark.parametrize(
    "cases, line",
    [
        ("hello,h2c-hello", "wrk is not installed (Debian package: wrk)"),
        ("h2c-hello", "h2load is not installed (Debian package: nghttp2-client)"),
    ],
)
def test_a_missing_tool_is_named_with_its_package(cases: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line, before anything is installed or started; and only one that the cases need."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    done = CliRunner().invoke(command.main, ["--cases", cases])
    assert done.exit_code == 2
    assert done.output == f"benchmarks: {line}\n"


def test_every_tool_has_a_package() -> None:
    """Else its absence would go unnoticed; WebSocket cases need none."""
    assert {tool for case in CASES for tool in case.tools} == set(machine.TOOLS)
    assert CASE["ws-128"].tools == ()


def test_saved_results_are_shown_again(tmp_path: Path) -> None:
    """Tables and plot can be made without measuring; the exit code tells whether pounce failed."""
    saved, drawn = tmp_path / "saved.json", tmp_path / "plot.svg"
    saved.write_text(report(pounce=Row([sample(2000)]), uvicorn=Row([], "boom")).as_json())
    done = CliRunner().invoke(command.main, ["--load", str(saved), "--svg", str(drawn)])
    assert done.exit_code == 0
    assert "- uvicorn failed: boom" in done.output
    ElementTree.fromstring(drawn.read_text())
    saved.write_text(report(pounce=Row([], "boom")).as_json())
    assert CliRunner().invoke(command.main, ["--load", str(saved)]).exit_code == 1


def answer_all(listener: socket.socket, heads: list[bytes]) -> None:
    """A server that notes every head: until the listener is closed."""

    def answer(sock: socket.socket) -> None:
        rest = b""
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(65536):
                *whole, rest = (rest + data).split(b"\r\n\r\n")
                heads.extend(whole)
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * len(whole))

    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=answer, args=(sock,), daemon=True).start()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("words", [("vary",), ("close", "vary")], ids=str)
def test_no_two_requests_of_a_varied_load_are_alike(words: tuple[str, ...]) -> None:
    """Path, query and cookie are each request's own: over connections, threads and runs, the one that warms up too."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=answer_all, args=(listener, heads), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for _ in range(2):
            subprocess.run(wrk.command(url, words, 8, 2, 1), check=True, capture_output=True, timeout=30)
        listener.shutdown(socket.SHUT_RDWR)
    assert len(heads) > 16
    for part in (rb"GET (\S+)\?", rb"\?(\S+) ", rb"\r\nCookie: (\S+)"):
        found = [match[1] for head in heads if (match := re.search(part, head))]
        assert len(found) == len(heads), part
        assert len(set(found)) == len(heads), part


def test_answers_that_take_long_are_measured_for_long() -> None:
    """wrk counts whole answers: those under way at the end of the window cost, and must be few beside the others."""
    lasting = len(payload.EVENTS) * 0.002
    assert CASE["sse-paced"].least_seconds >= 40 * lasting
    assert CASE["sse-paced"].window(1.0) == CASE["sse-paced"].least_seconds
    assert CASE["sse-paced"].window(60.0) == 60.0
    assert CASE["hello"].window(1.0) == 1.0
