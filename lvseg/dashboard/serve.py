"""Serves the page until Ctrl-C."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

from werkzeug.serving import BaseWSGIServer, make_server

from lvseg.dashboard.app import is_loopback, make_app
from lvseg.dashboard.trials import Reader
from lvseg.errors import ConfigError
from lvseg.store import UPath

__all__ = ["open_server", "serve"]


def open_server(runs: UPath, host: str, port: int, interval: float) -> BaseWSGIServer:
    """A server that listens already, and answers once ``serve_forever`` is called.

    Raises:
        ConfigError: the address cannot be had.
    """
    if not interval > 0:
        raise ConfigError(f"interval must be above 0, got {interval:g}")
    app = make_app(Reader(runs, interval), runs.name, interval, host)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    with _listen(host, port) as listening:  # the server has a copy
        return make_server(host, port, app.server, threaded=True, fd=listening.fileno())


def _listen(host: str, port: int) -> socket.socket:
    """Werkzeug itself would end the process where it cannot listen."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"host {host}, port {port}: cannot listen there: {error}") from None


def serve(runs: UPath, host: str, port: int, interval: float, say: Callable[[str], None]) -> None:
    """Serve the page of a folder of runs, which need not be there yet, until Ctrl-C.

    Raises:
        ConfigError: the address cannot be had.
    """
    server = open_server(runs, host, port, interval)
    say(f"http://{f'[{host}]' if ':' in host else host}:{server.socket.getsockname()[1]}/ shows {runs}; Ctrl-C ends it")
    if not is_loopback(host):
        say("everyone who reaches this address can read it: there is no password")
    with suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()
