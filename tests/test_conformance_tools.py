"""The replay's own logic: what is judged a failure, what is fetched, what the recorder writes."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

from conformance.__main__ import main, parse
from conformance.cache import SetupError
from conformance.environment import Interpreter
from conformance.judge import Known, Outcomes, judge, settle, table, to_repeat
from conformance.replay import (
    HERE,
    SHIM,
    NamesRequest,
    Request,
    clean_environment,
    is_free,
    load_known,
    put_on_path,
)
from conformance.surface import differences, surface
from conformance.upstream import check, unpack
from conformance.vectors import remote
from conformance.vectors.log_line import faults, read_logs
from conformance.vectors.response import read_responses
from conformance.vectors.vector import VectorError, read_group

PASSED, FAILED, SKIPPED = ("passed", ""), ("failed", "boom"), ("skipped", "not here")


def test_a_run_without_failures_is_good() -> None:
    """Passed and skipped tests count in their file's row, and the last line sums up."""
    verdict = judge({"a.py::one": PASSED, "a.py::two": SKIPPED, "b.py::one": PASSED}, [])
    assert verdict.good
    assert verdict.last_line == "2 passed, 0 failed, 1 skipped"
    assert (verdict.rows["a.py"].collected, verdict.rows["a.py"].skipped, verdict.rows["b.py"].passed) == (2, 1, 1)


def test_an_unknown_failure_is_bad() -> None:
    """A failed test that is not on the list fails the run."""
    verdict = judge({"a.py::one": FAILED}, [], {"a.py::one": PASSED})
    assert not verdict.good
    assert verdict.broken == {"a.py::one": "boom"}


def test_few_failures_are_tried_again_and_many_are_not() -> None:
    """Before they count: what is on the list, skipped or failed by the reference as well is settled at once."""
    outcomes = {f"a.py::{number}": FAILED for number in range(6)} | {"a.py::6": SKIPPED}
    known = [Known("a.py::0", "why"), Known("a.py::1", "why")]
    few = judge(outcomes, known, {"a.py::2": FAILED, "a.py::6": PASSED})
    assert to_repeat(few) == ["a.py::3", "a.py::4", "a.py::5"]
    assert to_repeat(judge(outcomes, known)) == []
    assert to_repeat(judge({}, [])) == []


def test_a_failure_is_excused_by_passing_each_time_behind_it() -> None:
    """Skipped, not run or failed once more is not that; who reads the last line is told."""
    outcomes = {f"a.py::{name}": FAILED for name in ("passes", "fails", "skips", "gone")}
    attempts: list[Outcomes] = [{f"a.py::{name}": PASSED for name in ("passes", "fails", "skips")} for _ in range(2)]
    attempts[0]["a.py::fails"] = FAILED
    attempts[1]["a.py::skips"] = SKIPPED
    assert settle(outcomes, list(outcomes), attempts) == {"a.py::passes": "boom"}
    verdict = judge(outcomes, [])
    verdict.repeated = {"a.py::passes": "boom"}
    assert list(verdict.broken) == ["a.py::fails", "a.py::gone", "a.py::skips"]
    assert verdict.last_line == "1 passed, 3 failed, 0 skipped; 1 of them not at once"


def test_a_known_failure_is_excused() -> None:
    """A failed test on the list is counted as failed and as known, and does not fail the run."""
    verdict = judge({"a.py::one": FAILED}, [Known("a.py::one", "why")])
    assert verdict.good
    assert (verdict.total.failed, verdict.total.known) == (1, 1)


def test_a_known_test_that_passes_is_bad() -> None:
    """The list is strict."""
    verdict = judge({"a.py::one": PASSED}, [Known("a.py::one", "why")])
    assert not verdict.good
    assert verdict.stale == ["a.py::one"]


@pytest.mark.parametrize("entry", ["a.py", "a.py::one"])
def test_an_entry_for_several_tests_is_stale_when_all_pass(entry: str) -> None:
    """An entry for a file or a function may have passing tests under it, but not only such."""
    known = [Known(entry, "why")]
    outcomes: Outcomes = {"a.py::one[1]": PASSED, "a.py::one[2]": FAILED}
    assert judge(outcomes, known).good
    assert not judge(dict.fromkeys(outcomes, PASSED), known).good


def test_an_entry_covers_no_namesakes() -> None:
    """`a.py::one` does not cover `a.py::one_more`."""
    assert not judge({"a.py::one_more": FAILED}, [Known("a.py::one", "why")]).good


def test_an_entry_whose_tests_were_not_collected_is_let_be() -> None:
    """A part of the tests can be replayed without complaint about the rest of the list."""
    assert judge({"a.py::one": PASSED}, [Known("b.py::two", "why")]).good


def test_a_skip_that_the_reference_does_not_make_is_bad() -> None:
    """A test cannot get out of the way by being skipped, unless it is on the list or uvicorn skips it too."""
    assert not judge({"a.py::one": SKIPPED}, [], {"a.py::one": PASSED}).good
    assert judge({"a.py::one": SKIPPED}, [], {"a.py::one": SKIPPED}).good
    verdict = judge({"a.py::one": SKIPPED}, [Known("a.py", "why")], {"a.py::one": PASSED})
    assert verdict.good
    assert verdict.total.known == 1


def test_a_failure_of_both_is_the_environments() -> None:
    """What fails with uvicorn in the same environment is told, but does not fail the run."""
    verdict = judge({"a.py::one": FAILED}, [], {"a.py::one": FAILED})
    assert verdict.good
    assert verdict.failed_by_both == {"a.py::one": "boom"}


def test_the_table_has_a_line_per_file_and_a_total() -> None:
    """Columns: collected, passed, failed, skipped, known."""
    lines = table(judge({"a.py::one": PASSED, "b.py::one": FAILED}, []))
    assert lines[0].split() == ["test", "file", "collected", "passed", "failed", "skipped", "known"]
    assert lines[1].split() == ["a.py", "1", "1", "0", "0", "0"]
    assert lines[-1].split() == ["total", "2", "1", "1", "0", "0"]


def test_the_known_list_is_short_and_reasoned() -> None:
    """At most eight entries, each with its reason, each once."""
    known = load_known()
    assert len(known) <= 8
    assert len({entry.test for entry in known}) == len(known)
    assert all(len(entry.reason) > 20 for entry in known)


def test_the_pins_are_complete() -> None:
    """uvicorn's version is the one that the shim presents, and its hash is a sha256."""
    from pounce.names import UVICORN_VERSION

    pins = tomllib.loads((HERE / "pins.toml").read_text())
    assert pins["uvicorn"]["version"] == UVICORN_VERSION
    assert len(bytes.fromhex(pins["uvicorn"]["sha256"])) == 32


def test_the_command_line() -> None:
    """Everything behind `--` goes to pytest as it is."""
    request = parse(["replay", "--python", "python9", "--http", "h11", "--", "tests/x.py", "-k", "a or --b", "--", "c"])
    assert request == Request("python9", "h11", False, ("tests/x.py", "-k", "a or --b", "--", "c"))
    assert parse(["replay", "--reference"]) == Request(sys.executable, None, True, ())
    assert parse(["replay"]).full
    assert not request.full


@pytest.mark.parametrize("argv", [[], ["fly"], ["replay", "--http", "gopher"], ["replay", "tests/x.py"]])
def test_a_wrong_command_line_is_exit_code_2(argv: list[str]) -> None:
    """A usage error is told apart from a failed replay."""
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    assert caught.value.code == 2


def test_an_interpreter_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, exit code 2."""
    assert main(["replay", "--python", str(tmp_path / "python")]) == 2
    assert capsys.readouterr().err == f"conformance: no interpreter at {tmp_path / 'python'}\n"


def test_an_interpreter_says_what_it_is() -> None:
    """The interpreter is asked, not guessed from its name."""
    asked = Interpreter.ask(sys.executable)
    assert asked.version == ".".join(map(str, sys.version_info[:3]))
    assert asked.tag == sys.implementation.cache_tag


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    """A file with another content than the pinned one is not used."""
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(b"right")
    check(archive, sha256(b"right").hexdigest())
    archive.write_bytes(b"wrong")
    with pytest.raises(SetupError, match="sha256"):
        check(archive, sha256(b"right").hexdigest())


def test_the_tests_are_unpacked_without_uvicorn(tmp_path: Path) -> None:
    """Beside the tests there is no `uvicorn` package that could win over the shim; the reference has it."""
    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("uvicorn/__init__.py", "tests/test_x.py", "pyproject.toml"):
            tar.addfile(tarfile.TarInfo(f"uvicorn-1/{name}"), io.BytesIO())
    for everything in (True, False):
        target = tmp_path / str(everything)
        unpack(archive, "uvicorn-1", target, everything=everything)
        assert (target / "tests" / "test_x.py").exists()
        assert (target / "uvicorn").exists() == everything


def test_only_the_two_packages_are_put_on_the_path(tmp_path: Path) -> None:
    """This repository's `tests` package cannot stand in for uvicorn's."""
    folder = put_on_path(tmp_path / "path")
    assert sorted(entry.name for entry in folder.iterdir()) == ["pounce", "pounce_compat"]
    assert (folder / "pounce_compat" / "shim" / "uvicorn").samefile(SHIM / "uvicorn")


def test_the_callers_settings_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that change what the server does are not handed on."""
    for name in ("UVICORN_PORT", "POUNCE_PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_CERT", "kept")
    cleaned = clean_environment()
    assert cleaned["PIP_CERT"] == "kept"
    assert not {"UVICORN_PORT", "POUNCE_PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PYTHONPATH"} & set(cleaned)


def test_a_taken_port_is_noticed() -> None:
    """A port that somebody listens on is not free; it is again once they are gone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


RECORDED = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("not today")

@pytest.fixture
def torn():
    yield
    raise RuntimeError("at the end")

def test_fails_late(torn): pass

class H11Protocol: pass

@pytest.mark.parametrize("parser", ["h11", "wsproto-httptools", H11Protocol, "post"])
def test_parser(parser): pass
"""


@pytest.mark.parametrize("http", ["", "h11"])
@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_recorder(tmp_path: Path, http: str, processes: str) -> None:
    """Every test is recorded once with its worst phase, with and without pytest-xdist; other parsers are left out."""
    (tmp_path / "test_it.py").write_text(RECORDED)
    results = tmp_path / "results.json"
    env = os.environ | {"CONFORMANCE_RESULTS": str(results), "CONFORMANCE_HTTP": http}
    env["PYTHONPATH"] = str(HERE / "recorder")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conformance_recorder", "-p", "no:cacheprovider"]
    command += ["-n", processes, "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)]
    subprocess.run(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=50, check=False)
    found = json.loads(results.read_text())["tests"]
    outcomes = {test.partition("::")[2]: (entry["outcome"], entry["message"]) for test, entry in found.items()}
    assert outcomes.pop("test_fails") == ("failed", "assert 1 == 2")
    assert outcomes.pop("test_skips") == ("skipped", "Skipped: not today")
    assert outcomes.pop("test_fails_late") == ("failed", "RuntimeError: at the end")
    parsers = {"test_parser[h11]", "test_parser[H11Protocol]", "test_parser[post]"}
    if not http:
        parsers.add("test_parser[wsproto-httptools]")
    assert outcomes == dict.fromkeys({"test_passes", *parsers}, ("passed", ""))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package to take the names of."""
    folder = tmp_path / "thing"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from thing.main import run\n__version__ = '1'\n")
    (folder / "inner" / "__init__.py").write_text("from thing.inner.deep import LIMIT as limit\n")
    (folder / "inner" / "deep.py").write_text("LIMIT = 3\n_private = 4\n")
    (folder / "alone.py").write_text("")
    (folder / "main.py").write_text(
        """
from __future__ import annotations
import os, os.path, ssl as tls
import ssl
import thing.inner as inner
from typing import TYPE_CHECKING, Literal
if TYPE_CHECKING:
    from thing import alone
    Shape = int | str
Kind = Literal["a", "b-c"]
TABLE: dict = {"x": object(), None: 1}
VERSION = ssl.PROTOCOL_TLS_SERVER
computed = len("x")
declared: int
class Thing: inside = 1
async def run(): local = 1
try:
    import fast
    here = sometimes = 1
except ImportError:
    here = 2
if os.name == "nt":
    windows = 1
"""
    )
    return folder


def test_names_are_read_from_sources(package: Path) -> None:
    """Public names that a module has in any case, each with its kind, and what one import brings with it."""
    found = surface(package)
    assert found["after_import"] == ["thing.inner", "thing.inner.deep", "thing.main"]
    assert found["modules"] == {
        "thing": {"run": "from thing.main run"},
        "thing.alone": {},
        "thing.inner": {"limit": "from thing.inner.deep LIMIT"},
        "thing.inner.deep": {"LIMIT": "value 3"},
        "thing.main": {
            "Kind": "literal a b-c",
            "Literal": "from typing Literal",
            "Shape": "value",
            "TABLE": "keys x None",
            "TYPE_CHECKING": "from typing TYPE_CHECKING",
            "Thing": "class",
            "VERSION": "from ssl PROTOCOL_TLS_SERVER",
            "computed": "value",
            "here": "value",
            "inner": "module thing.inner",
            "os": "module os",
            "run": "function",
            "ssl": "module ssl",
            "tls": "module ssl",
        },
    }


def test_what_is_wrong_in_the_table_of_names_is_said(package: Path) -> None:
    """One line for each name and module that differs, none where all is well."""
    real, kept = surface(package), surface(package)
    assert differences(kept, real) == []
    kept["modules"]["thing.inner.deep"]["LIMIT"] = "value 4"
    del kept["modules"]["thing.alone"]
    kept["after_import"].remove("thing.main")
    assert differences(kept, real) == [
        "import uvicorn: thing.main",
        "thing.alone: only in uvicorn",
        "thing.inner.deep.LIMIT: table 'value 4', uvicorn 'value 3'",
    ]


def test_the_command_for_names() -> None:
    """`names` compares, `names --write` writes."""
    assert parse(["names"]) == NamesRequest(write=False)
    assert parse(["names", "--write"]) == NamesRequest(write=True)


def test_the_command_for_vectors() -> None:
    """An address of either kind, some of the groups, and one parser's exceptions."""
    assert parse(["vectors", "h:80"]) == remote.Request("h", 80)
    assert parse(["vectors", "[::1]:80", "--group", "hosts", "--except-of", "zttp"]) == remote.Request(
        "::1", 80, ("hosts",), "zttp"
    )


WHOLE = 'vectors = [{ name = "a", send = \'\\xff\\{ab*3}\', refuse = 400, rfc = "9112 3" }]\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "more = 1\n" + WHOLE,
        WHOLE.replace("}]", ', more = 1}]'),
        WHOLE.replace(", refuse = 400", ""),
        WHOLE.replace("refuse = 400", "refuse = 400, waits = true"),
        WHOLE.replace(', rfc = "9112 3"', ""),
        WHOLE.replace("\\xff", "\\xg"),
        WHOLE.replace("}]", '}, { name = "a", send = "", waits = true, rfc = "1" }]'),
        WHOLE + '[uvicorn.b]\nh11 = { waits = true }\n',
        WHOLE + '[uvicorn.a]\nh12 = { waits = true }\n',
        WHOLE + '[except.a]\nh11 = { waits = true }\n',
        WHOLE + '[except.a]\nh11 = { refuse = 400, reason = "none" }\n',
    ],
)  # fmt: skip
def test_vectors_that_are_malformed(text: str, tmp_path: Path) -> None:
    """A slip in a data file does not pass for a vector."""
    path = tmp_path / "group.toml"
    path.write_text(WHOLE)
    [vector] = read_group(path)
    assert vector.data == b"\xffababab"
    path.write_text(text)
    with pytest.raises(VectorError):
        read_group(path)


PLACED = """
vectors = [{ name = "a", put = '\\n', refused = true, rfc = "3" }, { name = "b", put = 'c', sent = 'c', rfc = "1" }]
[places.head]
sends = [{ type = "http.response.start", status = 200, headers = [['x', '@']] }]
sent = { status = 200, fields = [['x', '@']] }
refused = { status = 0, told = true }
"""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "more = 1\n" + PLACED,
        PLACED.replace("refused = true", "refused = true, more = 1"),
        PLACED.replace("refused = true", "refused = true, sent = 'a'"),
        PLACED.replace(", refused = true", ""),
        PLACED.replace("refused = true", "refused = true, in = 'body'"),
        PLACED.replace(', rfc = "1"', ""),
        PLACED.replace('name = "b"', 'name = "a"'),
        PLACED.replace("told = true", "tolt = true"),
        PLACED + "[places.more]\nsends = []\n",
        PLACED + "[except.c]\nwsproto = { status = 500, reason = 'none' }\n",
        PLACED + "[except.a]\nwsproto = { status = 500 }\n",
        PLACED + "[except.a]\nh11 = { status = 500, reason = 'none' }\n",
        PLACED + "[except.a]\nwsproto = { status = 0, told = true, reason = 'none' }\n",
    ],
)
def test_vectors_of_responses_that_are_malformed(text: str, tmp_path: Path) -> None:
    """As those of requests; a hole of a place is filled in what is sent and in what is seen."""
    path = tmp_path / "group.toml"
    path.write_text(PLACED)
    refused, sent = read_responses(path)
    assert (refused.messages[0]["headers"], refused.verdict.told) == (((b"x", b"\n"),), True)
    assert (sent.messages[0]["headers"], sent.verdict.fields) == (((b"x", b"c"),), ((b"x", b"c"),))
    path.write_text(text)
    with pytest.raises(VectorError):
        read_responses(path)


LOGGED = "vectors = [{ name = \"a\", target = '/%0a', logged = '/%0A', rfc = \"3986 2.1\" }]\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "more = 1\n" + LOGGED,
        LOGGED.replace(" }]", ", more = 1 }]"),
        LOGGED.replace(" }]", ", refused = true }]"),
        LOGGED.replace(", logged = '/%0A'", ""),
        LOGGED.replace(', rfc = "3986 2.1"', ""),
        LOGGED.replace(" }]", ' }, { name = "a", refused = true, rfc = "1" }]'),
        LOGGED + "[uvicorn.b]\nh11 = { refused = true }\n",
        LOGGED + "[uvicorn.a]\nh12 = { refused = true }\n",
        LOGGED + "[uvicorn.a]\nh11 = { logged = '/%0A' }\n",
    ],
)
def test_vectors_of_the_log_that_are_malformed(text: str, tmp_path: Path) -> None:
    """As those of requests."""
    path = tmp_path / "group.toml"
    path.write_text(LOGGED)
    [vector] = read_logs(path)
    assert vector.verdict.lines("http1") == ['127.0.0.2:9000 - "GET /%0A HTTP/1.1" 200 OK']
    assert not faults(["as it should be"], None)
    assert faults(["two\nlines"], None)
    path.write_text(text)
    with pytest.raises(VectorError):
        read_logs(path)


def test_statuses_of_an_answer() -> None:
    """Whole heads, whatever the bodies hold; interim ones do not count."""
    answer = b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 HTTP/1.1 204 No\r\n\r\n"
    answer += (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP/1.1 400 Bad\r\n\r\nHTTP/1.1 500"
    )
    assert [*remote.statuses(answer)] == [200, 204, 200, 400]
