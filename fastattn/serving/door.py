"""Who may come in: the Host header, requests from other sites; and what every answer says to a browser."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from .metrics import Metrics
from .service import as_json

# The page is served from here whole; nothing is loaded from elsewhere, nothing may frame it, and no form leaves it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAID = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Of JSON, which is not kept."""
    body = content if isinstance(content, bytes) else as_json(content)
    return Response(body, status, {"cache-control": "no-store", **(headers or {})}, "application/json")


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """What every refusal looks like."""
    return json_response({"error": message, "status": status}, status, headers)


def local_hosts(host: str) -> frozenset[str] | None:
    """The names under which a server on ``host`` is asked, where that is this machine alone; None where others reach it."""
    names = {"127.0.0.1", "localhost", "[::1]"}
    if host == "localhost":
        return frozenset(names)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if not address.is_loopback:
        return None
    return frozenset({*names, f"[{address}]" if address.version == 6 else str(address)})


def host_name(header: str) -> str:
    """The name in a Host header, without the port."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).lower().rstrip(".")


class Door:
    """Before the application: refuses what should not come in, and counts what goes out.

    hosts: the names under which this server may be asked; None for any. A page of another site whose name leads here (DNS
    rebinding) is so refused. paths: those that are counted under their names.
    """

    def __init__(self, app: Any, hosts: Collection[str] | None, metrics: Metrics, paths: Collection[str]) -> None:
        self.app, self.hosts, self.metrics, self.paths = app, hosts, metrics, paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def sent(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAID.items():
                    headers[name] = value
            await send(message)

        try:
            await (self._refusal(scope) or self.app)(scope, receive, sent)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.add_request(path, method, status, time.monotonic() - start)

    def _refusal(self, scope: Any) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and host_name(host) not in self.hosts:
            return error_response(421, f"the host is {host!r:.100}; expected one of {', '.join(sorted(self.hosts))}")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc.lower() != host.lower()):
            return error_response(403, "the request comes from a page of another site; expected one of this server's")
        return None
