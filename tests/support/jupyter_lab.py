"""A JupyterLab of this environment for a browser: on a port and in folders of its own, ended with its kernels."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import psutil

__all__ = ["lab_of"]

TOKEN = "a-token-of-the-tests"
NOTEBOOK = "explorer.ipynb"
REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 180  # in which the server must answer, on a busy machine
GRACE = 30  # seconds in which a server ends its kernels by itself


@contextmanager
def lab_of(folder: Path, code: str) -> Iterator[str]:
    """The address of a notebook with one cell, in a server that reads and writes nothing outside a folder.

    Args:
        folder: An empty folder, for the notebook, the settings and the log.
        code: The cell.

    Yields:
        The address, with the token.
    """
    root = folder / "root"
    root.mkdir()
    write_notebook(root / NOTEBOOK, code)
    port, log = free_port(), folder / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    options = {"port": port, "port_retries": 0, "root_dir": root}
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    command += [f"--IdentityProvider.token={TOKEN}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, env=environment(folder), stdout=written, stderr=written, cwd=root, start_new_session=True
        )
        try:
            wait_for(process, port, log)
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}?token={TOKEN}"
        finally:
            end(process)


def write_notebook(path: Path, code: str) -> None:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata={"kernelspec": spec})
    nbformat.write(made, path)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """This process' environment with all of Jupyter's folders inside one, and without its question about news."""
    settings = folder / "config" / "labconfig"
    settings.mkdir(parents=True)
    off = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (settings / "page_config.json").write_text(json.dumps(off), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
    own = {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("config", "data", "runtime")}
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return kept | own | {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": path}


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until the server listens; the log is told if it ends or takes too long."""
    latest = time.monotonic() + SECONDS
    while time.monotonic() < latest:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    message = f"no JupyterLab, exit status {process.poll()}:\n{log.read_text(errors='replace')}"
    raise AssertionError(message)


def end(process: subprocess.Popen[bytes]) -> None:
    """The server ends its kernels when it is asked; what is left of them after that is killed.

    Kernels are in process groups of their own, so the server's group does not have them.
    """
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.terminate()
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(GRACE)
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    _, alive = psutil.wait_procs(started, timeout=GRACE)
    assert not alive
