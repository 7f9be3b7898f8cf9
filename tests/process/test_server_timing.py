"""Server-Timing through the real command: the commands of its page, its field as curl's and httpx's, mistakes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import httpx
import pytest

from tests.process.serving import ROOT, environment, run_command, served

PAGE = (ROOT / "docs/server-timing.md").read_text()

#: The commands of docs/server-timing.md.
COMMANDS = re.findall(r"^    pounce (main:app .+)$", PAGE, re.MULTILINE)

#: The app of docs/server-timing.md, answering.
EXAMPLE = "".join(re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL))
APP = f"""
import asyncio
async def query():
    await asyncio.sleep(0.01)
{EXAMPLE}
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}})
    await send({{"type": "http.response.body", "body": b"ok"}})
answer = app
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
    else:
        await answer(scope, receive, send)
"""


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_page(line: str, tmp_path: Path) -> None:
    """Each one tells whom it says."""
    (tmp_path / "main.py").write_text(APP)
    by_key = "X-Timing-Key" in line
    with served(*shlex.split(line), cwd=tmp_path, env=environment()) as server:
        assert not isinstance(server.address, str)
        url = f"http://127.0.0.1:{server.address[1]}/"
        key = {"x-timing-key": "s3cret"} if by_key else {}
        said = httpx.get(url, headers=key).headers["server-timing"]
        times = re.fullmatch(
            r'queue;dur=([0-9.]+), app;dur=([0-9.]+), cache;desc="miss", db;dur=([0-9.]+), total;dur=([0-9.]+)', said
        )
        assert times, said
        queue, app, db, total = map(float, times.groups())
        assert 5 <= db <= app <= total <= 30_000  # uvloop's sleep may end a millisecond early
        assert 0 <= queue <= total
        for fields in (
            {"x-forwarded-for": "192.0.2.1"},
            {"via": "1.1 p"},
            {"x-timing-key": "guess"} if by_key else {"via": "2 p"},
        ):
            assert "server-timing" not in httpx.get(url, headers=fields).headers


def test_the_page_has_commands() -> None:
    """Or the test above would find nothing wrong."""
    assert len(COMMANDS) == 3
    assert "timing.measure" in EXAMPLE


@pytest.mark.parametrize(
    "options", [["--server-timing-for", "home"], ["--server-timing-for", "::1", "--server-timing-for", "10.0.0.1/8"]]
)
def test_values_that_make_no_sense(options: list[str]) -> None:
    """One line, and exit code 2."""
    code, said = run_command("main:app", "--server-timing", *options)
    line = said.splitlines()[-1]
    allowed = "a list of networks (10.0.0.0/8), addresses, unix and Header=value"
    words = f"'--server-timing-for': must be {allowed}, not '{options[-1]}'"
    assert (code, words in line, "Traceback" in said) == (2, True, False), said


def test_the_list_from_the_environment(tmp_path: Path) -> None:
    """Which shows a secret to nobody else."""
    (tmp_path / "main.py").write_text(APP)
    env = environment(POUNCE_SERVER_TIMING_ALLOW="10.0.0.0/8,X-Key=abc")
    with served("main:app", "--server-timing", cwd=tmp_path, env=env) as server:
        assert not isinstance(server.address, str)
        url = f"http://127.0.0.1:{server.address[1]}/"
        assert "server-timing" in httpx.get(url, headers={"x-key": "abc"}).headers
        assert "server-timing" not in httpx.get(url).headers
