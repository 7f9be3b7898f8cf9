"""Config: what it remembers, reads from the environment, loads, and gives to each worker."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pounce.config.config import Config
from pounce.errors import ImportFromStringError, explanation
from pounce.middleware.asgi2 import ASGI2Middleware
from pounce.middleware.message_logger import MessageLoggerMiddleware
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.middleware.wsgi import WSGIMiddleware
from pounce.settings import Http2
from tests.config import apps

APP = "tests.config.apps:asgi3"
ROOT = Path(__file__).parents[2]


def made(app: Any = apps.asgi3, **settings: Any) -> Config:
    """A config that needs no protocol classes and leaves logging alone."""
    settings.setdefault("log_config", None)
    settings.setdefault("http", apps.Server)
    settings.setdefault("ws", "none")
    return Config(app, **settings)


def loaded(app: Any = apps.asgi3, **settings: Any) -> Config:
    """The same, loaded."""
    config = made(app, **settings)
    config.load()
    return config


# --- settings and environment


@pytest.mark.parametrize(
    "given,variable,expected",
    [(None, None, 1), (None, "3", 3), (0, "3", 1), (2, "3", 2), ("2", "3", 2), (None, "0", 0), (None, "", 1)],
)
def test_workers_come_from_the_setting_then_web_concurrency(
    given: Any, variable: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$WEB_CONCURRENCY counts only where nothing was given, and not if it is empty."""
    if variable is not None:
        monkeypatch.setenv("WEB_CONCURRENCY", variable)
    assert made(workers=given).workers == expected


@pytest.mark.parametrize(
    "variable,value,allowed",
    [
        ("WEB_CONCURRENCY", "many", "an integer, at least 0"),
        ("WEB_CONCURRENCY", "-1", "an integer, at least 0"),
        ("POUNCE_WORKER_CLASS", "fiber", "auto, thread or process"),
    ],
)
def test_a_variable_that_makes_no_sense_is_explained(
    variable: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable and its value."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError) as caught:
        made()
    line = f"The environment variable {variable} must be {allowed}, not '{value}'"
    assert (str(caught.value), explanation(caught.value)) == (line, (line, 2))


def test_no_workers_are_one_and_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn serves, and so it works; but nobody means it."""
    assert made(workers="0").workers == 1
    assert caplog.messages == ['"workers" is 0, which counts as 1.']


@pytest.mark.parametrize(
    "given,variable,expected",
    [(None, None, "127.0.0.1,::1"), (None, "*", "*"), ("10.0.0.1", "*", "10.0.0.1"), (["::1"], None, ["::1"])],
)
def test_trusted_proxies_come_from_the_setting_then_the_environment(
    given: Any, variable: str | None, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$FORWARDED_ALLOW_IPS counts only where nothing was given; the default is this machine."""
    if variable is not None:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", variable)
    assert made(forwarded_allow_ips=given).forwarded_allow_ips == expected


@pytest.mark.parametrize(
    "variable,expected",
    [
        ("POUNCE_COMPRESSION", True),
        ("POUNCE_SERVER_TIMING_ALLOW", True),
        ("UVICORN_PORT", True),
        ("POUNCE_WORKER_CLASS", False),
        ("POUNCE_DATABASE", False),
        ("PORT", False),
    ],
)
def test_a_setting_in_an_env_file_is_pointed_out(
    variable: str, expected: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The command has read its variables before; uvicorn's is silent."""
    path = tmp_path / ".env"
    path.write_text(f"{variable}=auto\n")
    with mock.patch.dict(os.environ):
        os.environ.pop(variable, None)
        made(env_file=path)
    line = f"${variable} has no effect in an environment file, which is for the app."
    assert (line in caplog.messages) is expected


def test_an_env_file_sets_what_the_config_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Variables of the file count for the config that loads it, and for the app."""
    path = tmp_path / ".env"
    path.write_text("WEB_CONCURRENCY=4\nPOUNCE_WORKER_CLASS=thread\nFORWARDED_ALLOW_IPS=10.1.1.1\n")
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        config = made(env_file=path)
    assert (config.workers, config.worker_class, config.forwarded_allow_ips) == (4, "thread", "10.1.1.1")
    assert os.environ["WEB_CONCURRENCY"] == "4"
    assert caplog.messages == [f"Loading environment from '{path}'"]


@pytest.mark.parametrize("path", ["nowhere.env", "."])
def test_an_env_file_that_is_not_there_is_named(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is no error, as with uvicorn: some machines have the file and others do not."""
    made(env_file=path)
    assert caplog.messages == [f"There is no environment file '{path}'."]


def test_an_unreadable_env_file_is_explained(tmp_path: Path) -> None:
    """Bytes that are no text are one line, naming the file."""
    path = tmp_path / "env"
    path.write_bytes(b"A=\xff\xfe\xff\n")
    with pytest.raises(ValueError) as caught:
        made(env_file=path)
    assert (explanation(caught.value) or ("",))[0].startswith(f"Cannot read the environment file '{path}'")


def test_a_missing_dotenv_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        made(env_file=tmp_path / ".env")
    assert explanation(caught.value) == ("--env-file needs the python-dotenv package: pip install python-dotenv", 3)


@pytest.mark.parametrize(
    "given,variable,expected", [(None, None, "auto"), (None, "thread", "thread"), ("process", "thread", "process")]
)
def test_the_worker_class_comes_from_the_setting_then_the_environment(
    given: Any, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$POUNCE_WORKER_CLASS counts only where nothing was given."""
    if variable is not None:
        monkeypatch.setenv("POUNCE_WORKER_CLASS", variable)
    assert made(worker_class=given).worker_class == expected


@pytest.mark.parametrize(
    "worker_class,gil,expected",
    [
        ("auto", True, "process"),
        ("auto", False, "thread"),
        ("thread", True, "thread"),
        ("process", False, "process"),
    ],
)
def test_auto_means_threads_where_the_gil_is_off(
    worker_class: Any, gil: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for explicitly is done on any build."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: gil, raising=False)
    assert made(worker_class=worker_class).effective_worker_class == expected


def test_auto_is_decided_when_the_config_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that switches the GIL on in the parent later says nothing about its children."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    config = made()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True)
    assert pickle.loads(pickle.dumps(made(APP))).effective_worker_class == "process"
    assert config.effective_worker_class == "thread"


def test_there_are_no_threads_under_the_reloader() -> None:
    """With --reload the number of workers is ignored, so the server must not make threads of it."""
    assert made(APP, reload=True, workers=2, worker_class="thread").effective_worker_class == "process"


@pytest.mark.parametrize(
    "app,reload,workers,subprocess,should_reload",
    [
        (APP, False, 1, False, False),
        (APP, True, 1, True, True),
        (apps.asgi3, True, 1, True, False),
        (APP, False, 2, True, False),
    ],
)
def test_reloading_takes_an_import_string(
    app: Any, reload: bool, workers: int, subprocess: bool, should_reload: bool
) -> None:
    """An app object cannot be imported again."""
    config = made(app, reload=reload, workers=workers)
    assert (config.use_subprocess, config.should_reload) == (subprocess, should_reload)


def test_workers_and_reload_together_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """The user learns that one of the two does nothing."""
    made(APP, reload=True, workers=2)
    assert '"workers" flag is ignored when reloading is enabled.' in caplog.messages


def test_an_unloaded_config_can_be_sent_to_another_process() -> None:
    """Pickling keeps every setting."""
    config = Config(APP, workers=3, headers=[("a", "b")], ssl_version=17, reload=True)
    received = pickle.loads(pickle.dumps(config))
    assert vars(received) == vars(config)


# --- loading


@pytest.mark.parametrize(
    "app,interface,version",
    [
        ("asgi3", "asgi3", "3.0"),
        ("asgi2", "asgi2", "2.0"),
        ("instance", "asgi3", "3.0"),
        ("AwaitableClass", "asgi3", "3.0"),
    ],
)
def test_the_interface_is_seen_from_the_app(app: str, interface: str, version: str) -> None:
    """A coroutine function, an object called like one or an awaitable class is ASGI 3, other functions ASGI 2."""
    config = loaded(f"tests.config.apps:{app}", proxy_headers=False)
    assert (config.interface, config.asgi_version) == (interface, version)
    assert isinstance(config.loaded_app, ASGI2Middleware) is (interface == "asgi2")


def test_wsgi_apps_get_an_adapter_and_no_websockets() -> None:
    """WSGI has to be asked for; it has no WebSocket."""
    config = loaded(apps.wsgi, interface="wsgi", proxy_headers=False, ws=apps.Server)
    assert isinstance(config.loaded_app, WSGIMiddleware)
    assert (config.ws_protocol_class, config.asgi_version) == (None, "3.0")


@pytest.mark.parametrize("level,proxy_headers", [("trace", True), ("trace", False), ("info", True), ("info", False)])
def test_middleware_is_added_where_it_does_something(level: str, proxy_headers: bool) -> None:
    """Proxy headers outermost, message logging at trace level, else the app itself."""
    app = loaded(log_level=level, proxy_headers=proxy_headers).loaded_app
    if proxy_headers:
        assert isinstance(app, ProxyHeadersMiddleware)
        app = app.app
    if level == "trace":
        assert isinstance(app, MessageLoggerMiddleware)
        app = app.app
    assert app is apps.asgi3


def test_a_factory_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """With `factory` silently, without it with a hint at the flag."""
    assert isinstance(loaded(apps.create, factory=True, proxy_headers=False).loaded_app, apps.Callable3)
    assert caplog.messages == []
    assert isinstance(loaded(apps.create, proxy_headers=False).loaded_app, apps.Callable3)
    assert caplog.messages == [
        "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
    ]


@pytest.mark.parametrize("app,shows_where", [(apps.asgi3, False), (apps.create_with_a_bug, True)])
def test_a_factory_that_cannot_be_called_ends_the_start(
    app: Any, shows_where: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One line where it is no factory, with a traceback where the factory itself is at fault."""
    with pytest.raises(SystemExit) as caught:
        loaded(app, factory=True)
    assert caught.value.code == 3
    assert caplog.messages[0].startswith("Error loading ASGI app factory: ")
    assert bool(caplog.records[0].exc_info) is shows_where


@pytest.mark.parametrize(
    "app,message",
    [
        ("tests.config.apps", 'Import string "tests.config.apps" must be in format "<module>:<attribute>".'),
        ("tests.config.apps:nothing", 'Attribute "nothing" not found in module "tests.config.apps".'),
        ("no_such_module:app", 'Could not import module "no_such_module".'),
    ],
)
def test_an_app_that_is_not_there_is_one_line(app: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    """The misspelt part is named and the exit code is 3."""
    with pytest.raises(SystemExit) as caught:
        made(app).load_app()
    assert caught.value.code == 3
    assert caplog.messages == [f"Error loading ASGI app. {message}"]


@pytest.mark.parametrize("app", ["no.such:app", "tests.no.such:app"])
def test_a_missing_parent_package_is_explained(app: str) -> None:
    """It stays an ImportError, as with uvicorn, and a command may show it as one line."""
    with pytest.raises(ModuleNotFoundError) as caught:
        made(app).load()
    line, code = explanation(caught.value) or ("", 0)
    assert 'Could not import module "' in line
    assert code == 1


def test_an_import_that_fails_inside_the_app_is_not_explained_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the missing module's name begins like the app's, its author gets the traceback."""
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "__init__.py").write_text("import half.sub\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        made("half.sub.app:app").load()
    assert caught.value.name == "half.sub"
    assert explanation(caught.value) is None


@pytest.mark.parametrize(
    "headers,server_header,expected",
    [
        ([], True, [(b"server", b"pounce")]),
        ([("X-Name", "é")], True, [(b"server", b"pounce"), (b"x-name", b"\xe9")]),
        ([("X-A", "1"), ("X-A", "2")], False, [(b"x-a", b"1"), (b"x-a", b"2")]),
        ([("SERVER", "mine")], True, [(b"server", b"mine")]),
    ],
)
def test_default_headers_are_encoded_once(headers: Any, server_header: bool, expected: Any) -> None:
    """Names in lower case, latin-1, the Server header first unless it is given or switched off."""
    assert loaded(headers=headers, server_header=server_header).encoded_headers == expected


def test_under_the_shim_the_server_header_is_uvicorns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drop-in is not to be told apart."""
    monkeypatch.setenv("POUNCE_PRESENT_AS", "uvicorn")
    assert loaded().encoded_headers == [(b"server", b"uvicorn")]


@pytest.mark.parametrize("http", ["auto", "h11", "httptools", "zttp"])
def test_http2_goes_with_every_parser(http: Any) -> None:
    """A class that speaks both, always the same one for the same parser, and that ALPN offers both of."""
    protocol_class = loaded(http=http, http2=True).http_protocol_class
    assert protocol_class.alpn_protocols == ["h2", "http/1.1"]
    assert protocol_class.http1_class is loaded(http=http).http_protocol_class
    assert protocol_class is loaded(http=http, http2=True).http_protocol_class


@pytest.mark.parametrize("method", ["load", "check"])
def test_http2_without_h2_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """It names the extra, and the exit code is 3."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        getattr(made(http2=True), method)()
    line = "--http2 needs the h2 package: pip install 'pounce-server[standard]', or pip install h2"
    assert explanation(caught.value) == (line, 3)


@pytest.mark.parametrize("method", ["load", "check"])
def test_the_wire_of_h2_needs_all_of_h2(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """hpack alone is enough for the native wire only."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "h2" else find_spec(name))
    getattr(made(http2=True), method)()
    with pytest.raises(ModuleNotFoundError) as caught:
        getattr(made(http2={"wire": "h2"}), method)()
    assert explanation(caught.value) == ("--http2-wire h2 needs the h2 package: pip install h2", 3)


@pytest.mark.parametrize("wire", ["native", "h2"])
def test_the_h2_library_is_imported_for_its_wire_only(wire: str) -> None:
    """By the config that asks for it, so that no connection has to."""
    code = (
        "import sys; from pounce.config.config import Config\n"
        f"Config('tests.config.apps:asgi3', http2={{'wire': {wire!r}}}, http='h11').load()\n"
        "print('h2.connection' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == str(wire == "h2")


@pytest.mark.parametrize("given,http2", [(False, False), (None, False), (True, True), ({}, True), (Http2(), True)])
def test_http2_is_a_switch_or_its_settings(given: Any, http2: bool) -> None:
    """The attribute is uvicorn's switch; who gives settings means HTTP/2."""
    config = made(http2=given)
    assert bool(config.http2) is http2
    assert config.settings.http2.resets == 1000


def test_settings_may_be_a_mapping() -> None:
    """What is not given keeps its default; a dataclass is taken as it is."""
    http2 = made(http2={"resets": "7"}).settings.http2
    assert http2 == Http2(resets=7)
    assert made(http2=http2).settings.http2 is http2


def test_a_worker_has_settings_of_its_own() -> None:
    """Equal ones: reference counts of what each connection reads stay with the thread."""
    config = made(http2={"resets": 7})
    worker = config.for_worker()
    assert worker.settings == config.settings
    assert worker.settings.http2 is not config.settings.http2


def test_loading_twice_is_a_mistake() -> None:
    """A config is loaded once."""
    with pytest.raises(AssertionError):
        loaded().load()


# --- workers


def test_workers_share_an_app_object_and_nothing_else() -> None:
    """Middleware and header lists are each worker's own; the app is the user's one object."""
    config = loaded(headers=[("a", "b")])
    first, second = config.for_worker(), config.for_worker()
    assert first.loaded is second.loaded is True
    assert first.loaded_app.app is second.loaded_app.app is apps.asgi3
    assert len({id(each.loaded_app) for each in (config, first, second)}) == 3
    assert len({id(each.encoded_headers) for each in (config, first, second)}) == 3


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("load_first", [True, False])
def test_each_worker_gets_an_app_of_its_own_from_a_factory(
    flag: bool, load_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Declared or detected, and with one hint at the flag for all workers."""
    config = made("tests.config.apps:create", factory=flag, proxy_headers=False)
    if load_first:
        config.load()
    workers = [config.for_worker() for _ in range(3)]
    assert len({id(worker.loaded_app) for worker in workers}) == 3
    assert config.loaded is load_first
    assert len(caplog.messages) == (0 if flag else 1)


def test_an_app_object_is_not_called_again_for_each_worker() -> None:
    """Finding out that it is no factory happens once."""
    calls = []

    class App:
        def __call__(self, *args: Any) -> None:
            calls.append(args)
            raise TypeError("three arguments, please")

    config = loaded(App(), interface="asgi3")
    config.for_worker()
    assert calls == [()]


# --- check: what a parent finds out


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"ssl_certfile": "nowhere.pem"}, "--ssl-certfile 'nowhere.pem': No such file or directory"),
        ({"ssl_keyfile": "nowhere.pem"}, "--ssl-keyfile needs --ssl-certfile as well"),
    ],
)
def test_a_parent_finds_broken_settings_before_its_children_do(settings: Any, message: str) -> None:
    """One line instead of one traceback per worker."""
    with pytest.raises((ValueError, OSError)) as caught:
        made(APP, workers=2, **settings).check()
    assert (explanation(caught.value) or ("",))[0].startswith(message)


@pytest.mark.parametrize("app", ["no_such_module:app", "no.such:app", "no_attribute"])
def test_a_parent_finds_an_app_that_cannot_exist(app: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without importing anything."""
    with pytest.raises(SystemExit) as caught:
        made(app, workers=2).check()
    assert caught.value.code == 3
    assert caplog.messages[0].startswith("Error loading ASGI app. ")


def test_a_parent_does_not_import_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children import it; the parent would only hold a copy."""
    (tmp_path / "not_for_parents.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    made("not_for_parents:app", workers=2, http="auto", ws="auto").check()
    made("not_written_yet:app", reload=True).check()
    assert "not_for_parents" not in sys.modules


# --- event loops


def test_loop_names_stand_for_factories() -> None:
    """None leaves the choice to asyncio; a name makes that loop."""
    assert made(loop="none").get_loop_factory() is None
    factory = made(loop="asyncio").get_loop_factory()
    assert factory is not None
    loop = factory()
    loop.close()
    assert isinstance(loop, asyncio.SelectorEventLoop)


def test_an_import_string_names_the_loop_factory_itself() -> None:
    """It is not called before the loop is needed."""
    assert made(loop="tests.config.apps:make_loop").get_loop_factory() is apps.make_loop


def test_a_loop_that_is_not_there_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The exit code is 3."""
    with pytest.raises(SystemExit) as caught:
        made(loop="tests.config.apps:nothing").get_loop_factory()
    assert caught.value.code == 3
    assert caplog.messages == [
        'Error loading custom loop setup function. Attribute "nothing" not found in module "tests.config.apps".'
    ]


def test_setup_event_loop_says_what_replaced_it() -> None:
    """Old callers learn the new name."""
    with pytest.raises(AttributeError, match=r"replaced by `get_loop_factory` in uvicorn 0\.36\.0"):
        made().setup_event_loop()


def test_a_custom_protocol_that_is_not_there_is_explained() -> None:
    """The option that named it is part of the line."""
    with pytest.raises(ImportFromStringError) as caught:
        loaded(http="tests.config.apps:Nothing")
    assert (explanation(caught.value) or ("",))[0].startswith("Cannot use --http tests.config.apps:Nothing. ")


@pytest.mark.parametrize(
    "settings", ["", "http2=True", "http2={'wire': 'h2'}", "http='h11', ws='none', lifespan='off'"]
)
def test_a_worker_thread_finds_everything_imported(settings: str) -> None:
    """After `preload` a thread's `for_worker` imports nothing more: each thread would keep it in a heap of its own."""
    code = (
        "import sys\n"
        "from pounce.config.config import Config\n"
        f"config = Config('tests.config.apps:asgi3', {settings})\n"
        "config.load_app()\n"
        "config.preload()\n"
        "before = set(sys.modules)\n"
        "config.for_worker()\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout == "[]\n"


def test_preload_leaves_the_complaint_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is missing is reported once, by the worker that needs it; a user's own class is not touched."""
    monkeypatch.setitem(sys.modules, "wsproto", None)
    made(ws="wsproto", http="no_such_module:Protocol").preload()
