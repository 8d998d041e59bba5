"""`lvlmscope app`: a server on this computer, which loads the model as told, prints its address and ends by Ctrl-C."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import webbrowser
from typing import Any
from urllib.parse import urlsplit

import pytest

import lvlmscope as lv
from tests.support.command_line import run

COMMAND = "lvlmscope.cli.commands.app"


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny", check=False)


@pytest.fixture
def calls(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command does, without loading and serving."""
    found: list[Any] = []

    def serve(session: Any, listening: socket.socket, token: str) -> None:
        found.append(("serve", session._kept["gradients"], listening.getsockname(), token))

    monkeypatch.setattr(f"{COMMAND}.load", lambda **options: found.append(("load", options)) or model)
    monkeypatch.setattr(f"{COMMAND}.serve", serve)
    monkeypatch.setattr(webbrowser, "open", lambda address: found.append(("open", address)))
    return found


def test_the_address_is_printed_and_opened(calls: list[Any]) -> None:
    done = run("app")
    assert done.returncode == 0, done.stderr
    (_, loading), (_, opened), (_, gradients, (host, port), token) = calls
    assert loading == {"source": "tiny", "dtype": "auto", "device_map": None}
    assert opened == f"http://127.0.0.1:{port}/?token={token}"
    assert done.stdout.splitlines()[0] == opened
    assert (host, gradients) == ("127.0.0.1", False)


def test_options_reach_the_model_and_the_server(calls: list[Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--model", "m", "--dtype", "bfloat16", "--device-map", "auto", "--gradients", "--no-browser")
    assert run("app", *options, "--port", str(port)).returncode == 0
    (_, loading), (_, gradients, address, _) = calls
    assert loading == {"source": "m", "dtype": "bfloat16", "device_map": "auto"}
    assert (gradients, address) == (True, ("127.0.0.1", port))


def test_every_start_has_a_token_of_its_own(calls: list[Any]) -> None:
    for _ in range(2):
        run("app", "--no-browser")
    tokens = [call[3] for call in calls if call[0] == "serve"]
    assert tokens[0] != tokens[1]


def test_a_port_that_is_in_use_is_said_before_the_model_is_loaded(calls: list[Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("app", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, done.stdout, calls) == (2, "", [])
    assert "serve the explorer: got port" in done.stderr


def test_without_its_libraries_the_extra_is_named(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    done = run("app")
    assert (done.returncode, calls) == (2, [])
    assert 'pip install "lvlmscope[app]"' in done.stderr


@pytest.mark.parametrize("shell", [[], ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]], ids=["", "in the background"])
def test_a_started_server_wants_its_token_and_ends_by_ctrl_c(shell: list[str]) -> None:
    started = [*shell, sys.executable, "-m", "lvlmscope", "app", "--no-browser"]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(address, timeout=20) as page:
                assert b"startApp(document)" in page.read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"http://{urlsplit(address).netloc}/", timeout=20)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert out.endswith("ended\n")
    assert err == ""
