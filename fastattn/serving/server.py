"""The server around the application: its socket, its connections, its end."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits
from .service import as_json

MAX_CONNECTIONS = 512
# Seconds that answers get when the server is told to stop, and what uvicorn waits on top of it.
GRACE = 5.0
MARGIN = 2.0


class Connection(H11Protocol):
    """A connection whose client is waited for no longer than ``patience``: it sends its request, and takes its answer.

    Where there are too many connections, the one that is waited for longest goes.
    """

    patience = Limits().timeout / 2
    waited_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Makes room, if need be."""
        super().connection_made(transport)
        self.waited_since = time.monotonic()
        if len(self.connections) > MAX_CONNECTIONS:
            connections: list[Any] = [*self.connections]
            connections = [each for each in connections if each.waited_since is not None]
            oldest = min(connections, key=lambda each: each.waited_since)
            self.connections.discard(oldest)  # it is found only once, though its end comes later
            oldest.transport.abort()

    def on_response_complete(self) -> None:
        """The client's turn again."""
        self.waited_since = time.monotonic()
        super().on_response_complete()

    def look(self, now: float) -> None:
        """Ends it, if the client has been waited for too long."""
        name = str(self.conn.their_state)
        waits = name in ("IDLE", "SEND_BODY") or self.transport.get_write_buffer_size() > 0
        if not waits:
            self.waited_since = None
        elif self.waited_since is None:
            self.waited_since = now
        elif now - self.waited_since > self.patience:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so in JSON, too."""
        import h11

        body = as_json({"error": "the request is no HTTP/1.1", "status": 400})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        try:
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        except h11.LocalProtocolError:  # an answer was under way
            pass
        self.transport.close()


class ModelServer(Server):
    """Looks after its connections, and answers what it can when it is told to stop."""

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 5 == 0:
            now = time.monotonic()
            connections: list[Any] = [*self.server_state.connections]
            for connection in connections:
                connection.look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What is not answered within the time of grace is told that the server stops."""
        app: Any = self.config.app
        later = asyncio.get_running_loop().call_later(GRACE, app.service.batcher.close, 0)
        try:
            await super().shutdown(sockets)
        finally:
            later.cancel()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on a host, a name or an address, and a port, 0 for any that is free. OSError as `bind`."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(app: Any, listener: socket.socket, limits: Limits) -> None:
    """Serves until SIGINT or SIGTERM, which it then raises again: what stands around it sees the signal, too."""
    protocol = type("Connection", (Connection,), {"patience": limits.timeout / 2})
    config = Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=min(30, limits.timeout),
        timeout_graceful_shutdown=int(GRACE + MARGIN),
    )
    ModelServer(config).run([listener])
