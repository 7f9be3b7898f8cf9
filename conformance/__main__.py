"""`python -m conformance replay [--python PATH] [--http PARSER] [--reference] [-- PYTEST ARGS]`, or `names [--write]`,
or `differential [--python PATH] [--case NAME] [--show] [--propose]`,
or `vectors HOST:PORT [--group NAME] [--except-of PARSER]`.

Exit code 0: every test that uvicorn passes passes with pounce, or is known; 1: not so; 2: it could not be run. `names`
compares the table of uvicorn's names, which tests/compat hold pounce to, with uvicorn itself; a replay does so, too.
`vectors` sends the requests of conformance/vectors to any server: it passes where each verdict is the one there.
"""

from __future__ import annotations

import argparse
import sys

from conformance.cache import SetupError
from conformance.differential import runner
from conformance.replay import NamesRequest, Request, compare_names, replay
from conformance.vectors import remote


def parse(argv: list[str]) -> Request | NamesRequest | runner.Request | remote.Request:
    """The request that the command line spells. Exits with 2 on a mistake."""
    own, pytest_args = argv, []
    if "--" in argv:
        cut = argv.index("--")
        own, pytest_args = argv[:cut], argv[cut + 1 :]
    parser = argparse.ArgumentParser(prog="python -m conformance", description="Check pounce against uvicorn.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "replay",
        help="run uvicorn's own tests against pounce",
        usage="%(prog)s [--python PATH] [--http PARSER] [--reference] [-- PYTEST ARGS]",
        epilog="What follows -- goes to pytest, for example: -- tests/test_config.py -k ssl",
    )
    command.add_argument("--python", default=sys.executable, metavar="PATH", help="the interpreter to check (this one)")
    command.add_argument(
        "--http", choices=("h11", "httptools", "zttp"), help="leave out tests that are for another HTTP parser"
    )
    command.add_argument("--reference", action="store_true", help="run them against uvicorn itself: the baseline")
    command = commands.add_parser("names", help="compare the table of uvicorn's names with uvicorn itself")
    command.add_argument("--write", action="store_true", help="make the table anew")
    command = commands.add_parser("differential", help="send the same bytes to uvicorn and to pounce, and compare")
    command.add_argument("--python", default=sys.executable, metavar="PATH", help="the interpreter to check (this one)")
    command.add_argument("--case", action="append", default=[], metavar="NAME", help="only these, patterns too")
    command.add_argument("--show", action="store_true", help="print what came of each run with pounce")
    command.add_argument("--propose", action="store_true", help="print unknown differences as entries for the list")
    command = commands.add_parser("vectors", help="send requests that confuse to a server, and say what it takes")
    command.add_argument("server", metavar="HOST:PORT", help="where it listens, without TLS")
    command.add_argument("--group", action="append", default=[], metavar="NAME", help="only these files")
    command.add_argument(
        "--except-of", choices=("h11", "httptools", "zttp"), default="", help="but for what pounce on this parser does"
    )
    given = parser.parse_args(own)
    if given.command == "vectors":
        host, _, port = given.server.rpartition(":")
        if not host or not port.isdecimal():
            parser.error(f"{given.server!r} is not HOST:PORT")
        return remote.Request(host.strip("[]"), int(port), tuple(given.group), given.except_of)
    if given.command == "names":
        return NamesRequest(given.write)
    if given.command == "differential":
        return runner.Request(given.python, tuple(given.case), given.show, given.propose)
    return Request(given.python, given.http, given.reference, tuple(pytest_args))


def main(argv: list[str]) -> int:
    """Run one command."""
    request = parse(argv)
    try:
        if isinstance(request, NamesRequest):
            return compare_names(request)
        if isinstance(request, runner.Request):
            return runner.differential(request, lambda line: print(line, flush=True))
        if isinstance(request, remote.Request):
            return remote.run(request, lambda line: print(line, flush=True))
        # Flushed line by line: pytest writes to the same terminal in between.
        return replay(request, lambda line: print(line, flush=True))
    except SetupError as exc:
        print(f"conformance: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
