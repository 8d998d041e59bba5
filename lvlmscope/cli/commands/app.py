"""`lvlmscope app`: the live explorer in a browser, from a small server on this computer."""

import webbrowser
from contextlib import suppress
from typing import Any

from lvlmscope.cli.console import console
from lvlmscope.cli.progress import stages
from lvlmscope.explorer.app_server import ADDRESS, bound, new_token, require_server, serve
from lvlmscope.explorer.app_session import AppSession
from lvlmscope.verification.loading import load

__all__ = ["run_app"]


def run_app(port: int, *, loading: dict[str, Any], browser: bool, gradients: bool) -> None:
    """Loads a model, prints the page's address and serves it until Ctrl-C.

    Args:
        port: 0 for any that is free.
        loading: Arguments of `load`.
        browser: Open the page.
        gradients: Keep every token's gradient, for saliency.

    Raises:
        MissingExtraError: Starlette or uvicorn is not installed.
        OutputError: The port cannot be used.
        LvlmscopeError: As for `load`.
    """
    require_server()
    with bound(port) as listening:
        with stages(shown=True):
            session = AppSession(load(**loading), gradients=gradients)
        token = new_token()
        address = f"http://{ADDRESS}:{listening.getsockname()[1]}/?token={token}"
        console.print(f"{address}\nopen it in a browser on this computer; Ctrl-C ends it", soft_wrap=True, markup=False)
        if browser:
            webbrowser.open(address)
        with suppress(
            KeyboardInterrupt
        ):  # the usual end, unless a shell that started this in the background ignores it
            serve(session, listening, token)
        console.print("ended")
