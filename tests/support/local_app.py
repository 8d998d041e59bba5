"""The local server of the explorer in this process, on a port of its own, for a browser."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from lvlmscope.explorer.app_server import app_of, bound
from lvlmscope.explorer.app_session import AppSession

__all__ = ["TOKEN", "served"]

TOKEN = "a-token-of-the-tests"


@contextmanager
def served(session: AppSession) -> Iterator[str]:
    """The address, with the token.

    Args:
        session: What is shown.

    Yields:
        The address.
    """
    with bound(0) as listening:
        port = listening.getsockname()[1]
        quiet: dict[str, Any] = {"log_level": "warning", "lifespan": "off", "ws": "none"}
        server = uvicorn.Server(uvicorn.Config(app_of(session, TOKEN, port), **quiet))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            end = time.monotonic() + 20
            while not server.started and time.monotonic() < end:
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}/?token={TOKEN}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
