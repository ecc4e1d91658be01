"""glassformer serve: the page, on this machine."""

from __future__ import annotations

import errno
import gc
import os
import socket
import sys
import webbrowser
from typing import Annotated
from urllib.parse import quote

import typer

from glassformer.cli.learn import Text
from glassformer.cli.streams import say
from glassformer.errors import GlassformerError
from glassformer.server.app import create_app
from glassformer.server.connections import Server
from glassformer.server.guard import check_bind
from glassformer.server.runs import Runs

PORT, PORTS = 8000, 100
"""The first port to try where none is given, and how many."""

COLLECTING = (700, 10, 200)
"""How seldom Python looks through everything for circles; its own: (700, 10, 10).

It holds up every read meanwhile. Traces are freed without it: one leaves a hundred small objects.
"""

SWITCH_SECONDS = 0.0005
"""How long a recording may hold Python's lock while a read waits for it; Python's own: 0.005."""


def command(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...", help="Runs' folders, models' folders, presets. None: miniature."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at. One for other machines needs a --token.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: 8000, or the next free one.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="The secret that lets browsers and programs in.", metavar="WORD"),
    ] = None,
    trace_memory: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1024,
            metavar="GB",
            help="What recorded traces may take together. Default: 1, or an eighth of the memory.",
        ),
    ] = None,
    text: Text = None,
    show: Annotated[
        bool,
        typer.Option(
            "--open/--no-open", help="Open a browser. [default: --open]", show_default=False
        ),
    ] = True,
) -> None:
    """Serve the page: walk through a model and touch every number.

    Ctrl-C ends it. Models are opened when they are first looked at. The course
    is under Learn, about the story or about your own --text.
    """
    check_bind(host, token)
    trace_bytes = None if trace_memory is None else int(trace_memory * 1e9)
    app = create_app(
        Runs(runs or ["miniature"]),
        host=host,
        token=token,
        trace_bytes=trace_bytes,
        text=text,
        apart=True,
    )
    listener = listen(host, port)
    url = url_of(host, listener.getsockname()[1])
    say(f"Glassformer is at {url}  (Ctrl-C ends it)")
    if show:
        webbrowser.open(url if token is None else f"{url}?token={quote(token)}")
    server = Server(app, app.state.services.leave)
    gc.freeze()  # what is there for good is not looked through again and again
    gc.set_threshold(*COLLECTING)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn passes on the signal that it ended by
        pass
    finally:
        listener.close()
    # Python would wait for what still computes, and take traces apart for many seconds
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens at `host`.

    >>> url_of("127.0.0.1", 8000), url_of("::1", 8000)
    ('http://127.0.0.1:8000/', 'http://[::1]:8000/')
    >>> url_of("0.0.0.0", 8000), url_of("::", 8000)
    ('http://127.0.0.1:8000/', 'http://[::1]:8000/')
    """
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def listen(host: str, port: int | None) -> socket.socket:
    """A socket bound to `port`, or without one to the first free port from 8000 on."""
    for tried in range(PORT, PORT + PORTS) if port is None else [port]:
        try:
            return _bound(host, tried)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise GlassformerError(
                    f"can't listen at {host}: {error.strerror or error}; give an address of this"
                    " machine"
                ) from error
    where = f"port {port}" if port is not None else f"every port from {PORT} to {PORT + PORTS - 1}"
    raise GlassformerError(f"{where} is in use; stop what listens there, or give another --port")


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket; a name that stands for addresses of both kinds means the IPv4 one."""
    # with the protocol named, asyncio turns off Nagle's delay: 0.8 ms a request, not 45
    result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    family, kind, protocol, _, address = min(result, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
