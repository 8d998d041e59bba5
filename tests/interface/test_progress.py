"""Progress bars: on a terminal or in a notebook only, by one setting for the library and the command line."""

import io
import os
import pty
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest

import lvlmscope as lv
from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.interface.progress import bar, bars_shown, transformers_bars

TRACED = """
import lvlmscope as lv
from lvlmscope.tiny import scene
images = [scene("prior", number).image for number in range(2)]
model = lv.load("tiny", check=False)
list(lv.trace_many(model, images, prompt="Describe the image.", max_new_tokens=2))
"""


def written(setting: str | None, *, terminal: bool) -> str:
    """What a process that traces writes to standard error."""
    environment = {name: value for name, value in os.environ.items() if name != "LVLMSCOPE_PROGRESS"}
    environment |= {} if setting is None else {"LVLMSCOPE_PROGRESS": setting}
    command = [sys.executable, "-c", TRACED]
    if not terminal:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return done.stderr
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 4096):
            found += part
    except OSError:  # the other end of the terminal is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return found.decode()


def test_nothing_is_written_into_a_pipe() -> None:
    assert written(None, terminal=False) == ""


@pytest.mark.slow
def test_a_terminal_shows_bars_and_off_silences_them() -> None:
    shown = written(None, terminal=True)
    assert "trace" in shown
    assert "Loading weights" in shown
    assert written("off", terminal=True) == ""


def test_on_shows_bars_in_a_pipe() -> None:
    assert "2/2" in written("on", terminal=False)


def test_a_notebook_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LVLMSCOPE_PROGRESS", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for shell, shown in [(SimpleNamespace(kernel=object()), True), (SimpleNamespace(), False), (None, False)]:
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert bars_shown() is shown
        assert not bars_shown(shown=False)
    monkeypatch.setattr(sys, "stderr", None)
    assert not bars_shown()


def test_an_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVLMSCOPE_PROGRESS", "loud")
    with pytest.raises(UnsupportedOptionError, match="LVLMSCOPE_PROGRESS='loud'; expected: auto, on, off"):
        bar()


def test_the_setting_of_transformers_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import logging

    monkeypatch.setenv("LVLMSCOPE_PROGRESS", "off")
    monkeypatch.setattr(logging, "_tqdm_active", True)  # commands that other tests run switch it off
    with transformers_bars():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled()
    lv.load("tiny", check=False)
    assert logging.is_progress_bar_enabled()
