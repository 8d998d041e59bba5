"""A local server of the live explorer: one page and its requests, on 127.0.0.1, for who has the token."""

import asyncio
import base64
import hashlib
import hmac
import html
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from lvlmscope.errors import MissingExtraError, ModelInputError, OutputError, message
from lvlmscope.explorer.app_session import AppSession, EndedError, packed, unpacked
from lvlmscope.explorer.page_script import START_APP, page_script, page_style
from lvlmscope.traces.image_sources import MAX_BYTES

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ADDRESS", "app_of", "bound", "new_token", "require_server", "serve"]

ADDRESS: Final = "127.0.0.1"
_BODY: Final = MAX_BYTES + 2**20  # an image, and the rest of a question
_COOKIE: Final = "lvlmscope"
_START: Final = "\nstartApp(document);\n"
_TASK: Final = "serve the explorer"
_DEFECT: Final = "interrupted, or a defect: the terminal has the traceback"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def require_server() -> None:
    """Refuses to go on without the libraries of a server.

    Raises:
        MissingExtraError: They are not installed.
    """
    try:
        import starlette
        import uvicorn
    except ModuleNotFoundError as error:
        got, fix = f"no module {error.name}", 'pip install "lvlmscope[app]", or write lv.report(trace, path)'
        raise MissingExtraError(message(got, "starlette and uvicorn", fix, task=_TASK)) from error
    del starlette, uvicorn


@contextmanager
def bound(port: int) -> Iterator[socket.socket]:
    """A socket on 127.0.0.1.

    Args:
        port: 0 for any that is free.

    Yields:
        The socket.

    Raises:
        OutputError: The port cannot be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((ADDRESS, port))
            made.listen()  # a browser that is quicker than the server waits
        except (OSError, OverflowError) as error:
            got = f"port {port} ({getattr(error, 'strerror', None) or error})"
            raise OutputError(message(got, "a free port", "leave --port out", task=_TASK)) from error
        yield made


def serve(session: AppSession, listening: socket.socket, token: str) -> None:
    """Serves until it is interrupted; a run ends at its next token then.

    Args:
        session: What is shown.
        listening: As `bound` gives it.
        token: What a request has to know.
    """
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            session.ended.set()
            super().handle_exit(sig, frame)

    app = app_of(session, token, listening.getsockname()[1])
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "lifespan": "off"}
    config = uvicorn.Config(app, **quiet, ws="none", timeout_graceful_shutdown=2)
    with session.ending_runs():
        Server(config).run(sockets=[listening])


def app_of(session: AppSession, token: str, port: int) -> "ASGIApp":
    """The application: `GET /` is the page, `POST /request` its messages.

    Args:
        session: What is shown.
        token: What every request has to know, as the cookie or as `?token=`.
        port: Where it is served.
    """
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse
    from starlette.routing import Route

    page, policy = _page(session.model.name)
    cookie = f"{_COOKIE}-{port}"  # cookies know no ports: two servers would overwrite each other's

    async def show(request: "Request") -> "Response":
        if "token" not in request.query_params:
            return HTMLResponse(page, headers=_HEADERS | {"Content-Security-Policy": policy})
        found = RedirectResponse("/", 303, headers=_HEADERS)  # so that the token stays out of the history
        found.set_cookie(cookie, token, httponly=True, samesite="strict")
        return found

    async def reply(request: "Request") -> "Response":
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY:
                text = message("a larger body", f"{MAX_BYTES:,} bytes at most", "resize the image", task="ask a model")
                return PlainTextResponse(text, 413, headers=_HEADERS)
        try:
            content, image = unpacked(bytes(body))
        except ModelInputError as error:
            return PlainTextResponse(str(error), 400, headers=_HEADERS)
        running = _Run(session, content, image)
        kind = "application/octet-stream"
        # What a defect raises comes after the body: raised within, it would cut the answer off
        return StreamingResponse(
            running.body(), media_type=kind, headers=_HEADERS, background=BackgroundTask(running.result)
        )

    routes = [Route("/", show), Route("/request", reply, methods=["POST"])]
    return _Guard(Starlette(routes=routes), token=token, cookie=cookie, port=port)


class _Run:
    """A request that is answered in a thread of its own."""

    def __init__(self, session: AppSession, content: Any, image: bytes) -> None:
        """Begin.

        Args:
            session: What is shown.
            content: As `AppSession.answer` takes it.
            image: The bytes of an image file.
        """
        from starlette.concurrency import run_in_threadpool

        self._session, self._content, self._image = session, content, image
        self._loop, self._made = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()
        self._left = threading.Event()
        self._running = asyncio.ensure_future(run_in_threadpool(self._answer))

    async def body(self) -> AsyncIterator[bytes]:
        """What answers: messages of how far it is, then the answer, whatever happens.

        Yields:
            Messages, as `packed` makes them; only the last one has no `progress`. Left early, as by a page that is
            closed, the run ends at its next token.
        """
        try:
            while (made := await self._made.get()) is not None:
                yield made
        finally:
            self._left.set()

    async def result(self) -> None:
        """Waits for the end, and raises what a defect raised."""
        await self._running

    def _answer(self) -> None:
        number = self._content.get("id") if isinstance(self._content, dict) else None
        answer = packed({"id": number, "error": _DEFECT})
        try:
            answer = packed(*self._session.answer(self._content, self._image, self._progress))
        finally:
            self._put(answer)
            self._put(None)

    def _progress(self, message: dict[str, Any]) -> None:
        if self._left.is_set():
            raise EndedError("The page has been closed.")
        self._put(packed(message))

    def _put(self, made: bytes | None) -> None:
        with suppress(RuntimeError):  # the loop of a server that ended meanwhile
            self._loop.call_soon_threadsafe(self._made.put_nowait, made)


class _Guard:
    """Lets requests through that come to this server's own name, from its own page, with the token."""

    def __init__(self, app: "Starlette", *, token: str, cookie: str, port: int) -> None:
        self._app, self._token, self._cookie = app, token.encode(), cookie
        self._hosts = {f"{name}:{port}" for name in (ADDRESS, "localhost")}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            return
        refused = self._refusal(scope)
        if not refused:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        start: Message = {"type": "http.response.start", "status": 403, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": refused.encode()})

    def _refusal(self, scope: "Scope") -> str:
        """Why a request is refused; empty where it is not. Names of other hosts lead here by DNS rebinding."""
        from starlette.requests import HTTPConnection

        found = HTTPConnection(scope)
        if found.headers.get("host", "") not in self._hosts:
            return "lvlmscope app: this server has another name; open the address that it printed."
        origin = found.headers.get("origin", "")
        if origin and origin.removeprefix("http://") not in self._hosts:
            return "lvlmscope app: requests come from its own page only."
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [found.cookies.get(self._cookie, "")])
        if not hmac.compare_digest(given[-1].encode(), self._token):
            return "lvlmscope app: no token, or another one; open the address that it printed when it started."
        return ""


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(32)


def _page(name: str) -> tuple[str, str]:
    """The page, which is the same for every question, and its policy: its own script, and requests to its server."""
    script, style = page_script(START_APP) + _START, page_style()
    policy = (
        f"default-src 'none'; img-src data: blob:; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    title = html.escape(f"Ask {name}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f'<body class="lvx-page"><h1>{title}</h1><main id="app"></main>'
        "<footer>Made by lvlmscope; it runs on this computer, and nothing leaves it.</footer>"
        f'<script type="module">{script}</script></body></html>\n'
    ), policy


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
