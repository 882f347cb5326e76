"""The application: paths, bodies, errors. What is computed stands in `service`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from fastattn.data.words import counted

from .batching import SIZE, WAIT, Closed, Full
from .door import Door, error_response, json_response
from .fields import RequestError, from_json, of_evaluate, of_translate, pairs, read_fields, read_query
from .limits import Limits
from .metrics import Metrics
from .openapi import JSON, TSV, description
from .service import Service

if TYPE_CHECKING:
    from fastattn.training import Translator

# The page: path, file in `static`, type. No other file is ever served.
PAGE = (
    ("/", "index.html", "text/html"),
    ("/page.css", "page.css", "text/css"),
    ("/page.js", "page.js", "text/javascript"),
    ("/api.js", "api.js", "text/javascript"),
    ("/attention.js", "attention.js", "text/javascript"),
    ("/file.js", "file.js", "text/javascript"),
    ("/icon.svg", "icon.svg", "image/svg+xml"),
)
# Of a body that is too large so many times the limit are passed over: a client that sends sees no answer before it has sent.
PASSED_OVER = 16
GONE = 499  # as others call it: the client went away; it is counted, not sent
STOPPING = 10.0  # seconds that a batch may take when the server stops

Handler = Callable[[Request], Awaitable[Response]]


class App(Door):
    """The application with its door. service: what answers."""

    service: Service


def make_app(
    models: Mapping[str, Translator],
    limits: Limits | None = None,
    *,
    hosts: Collection[str] | None = None,
    batch_size: int = SIZE,
    batch_wait: float = WAIT,
    version: str = "",
) -> App:
    """An ASGI application that serves translators by their names, the first where a request names none.

    hosts: the names under which it may be asked (the Host header, without the port); None for any. batch_size, batch_wait: at
    most so many texts share a batch, and the first of them waits so many seconds for others.
    """
    limits = limits or Limits()
    metrics = Metrics()
    service = Service(models, limits, batch_size=batch_size, batch_wait=batch_wait, metrics=metrics, version=version)
    handlers = Handlers(service, metrics)
    routes = [
        Route("/translate", handlers.bounded(handlers.translate), methods=["POST"]),
        Route("/evaluate", handlers.bounded(handlers.evaluate), methods=["POST"]),
        Route("/info", handlers.info),
        Route("/health", handlers.health),
        Route("/metrics", handlers.metrics_text),
        Route("/openapi.json", handlers.openapi),
        *(Route(path, _file(name, kind)) for path, name, kind in PAGE),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.batcher.close, STOPPING)

    inside = Starlette(
        routes=routes,
        exception_handlers={RequestError: _refused, HTTPException: _http_error, Exception: _failed},
        lifespan=lifespan,
    )
    inside.router.redirect_slashes = False
    app = App(inside, hosts, metrics, {route.path for route in routes})
    app.service = service
    return app


class Handlers:
    """What answers a request of each path."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.service, self.metrics, self.limits = service, metrics, service.limits
        names = list(service.models)
        self.of_translate = of_translate(self.limits, names)
        self.of_evaluate = of_evaluate(self.limits, names)
        self.pairs = pairs(self.limits)
        self.description = description(self.limits, names, service.version)

    def bounded(self, handler: Handler) -> Handler:
        """The handler within the time limit, given up when the client goes away."""

        async def answer(request: Request) -> Response:
            try:
                async with asyncio.timeout(self.limits.timeout):
                    return await handler(request)
            except TimeoutError:
                said = f"the answer took longer than {counted(self.limits.timeout, 'second')}; ask for less at once"
                raise RequestError(503, said) from None
            except ClientDisconnect:
                return Response(status_code=GONE)
            except Full:
                raise RequestError(503, "too many texts are waiting; try again", {"retry-after": "1"}) from None
            except (Closed, asyncio.CancelledError):
                raise RequestError(503, "the server is stopping") from None
            except MemoryError:
                raise RequestError(503, "there is not enough memory; ask for less at once") from None

        return answer

    async def translate(self, request: Request) -> Response:
        """`POST /translate`."""
        asked = read_fields(await self._json(request), self.of_translate)
        return json_response(await _while_there(request, self.service.translate(asked)))

    async def evaluate(self, request: Request) -> Response:
        """`POST /evaluate`: pairs in JSON, or a file of them."""
        if _kind(request) == TSV:
            asked = read_query(request.query_params.multi_items(), self.of_evaluate)
            given: Any = await self._body(request)
        else:
            content = await self._json(request, f"{JSON} or {TSV}")
            asked = await asyncio.to_thread(read_fields, content, [self.pairs, *self.of_evaluate])
            given = asked.pop("pairs")
        return json_response(await _while_there(request, self.service.evaluate(asked, given)))

    async def info(self, request: Request) -> Response:
        """`GET /info`."""
        return json_response(self.service.info())

    async def health(self, request: Request) -> Response:
        """`GET /health`."""
        alive = self.service.batcher.alive
        return json_response({"status": "ok" if alive else "stopping"}, 200 if alive else 503)

    async def metrics_text(self, request: Request) -> Response:
        """`GET /metrics`."""
        return Response(self.metrics.text(), headers={"cache-control": "no-store", "content-type": self.metrics.content_type})

    async def openapi(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        return json_response(self.description)

    async def _json(self, request: Request, expected: str = JSON) -> Any:
        """The body. Another type is refused: a page of another site may send a form or a plain text without being asked."""
        if (kind := _kind(request)) != JSON:
            raise RequestError(415, f"the body is of the type {kind or 'that nobody told'!r:.100}; expected {expected}")
        body = await self._body(request)
        try:
            return from_json(body)
        except ValueError as error:
            raise RequestError(400, f"the body is no JSON: {error}") from None

    async def _body(self, request: Request) -> bytes:
        most = self.limits.max_bytes
        said = request.headers.get("content-length", "0")
        is_large = said.isdecimal() and int(said) > most
        parts, size = [], 0
        # Who asks first need not send it.
        if not is_large or ("expect" not in request.headers and int(said) <= PASSED_OVER * most):
            try:
                async with asyncio.timeout(self.limits.timeout / 2):
                    async for part in request.stream():
                        size += len(part)
                        is_large = is_large or size > most
                        parts.append(b"" if is_large else part)
                        if size > PASSED_OVER * most:
                            break
            except TimeoutError:
                raise RequestError(408, "the body did not come in time") from None
        if is_large:
            raise RequestError(413, f"the body has more than {most:,} bytes; expected at most so many")
        return b"".join(parts)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _while_there(request: Request, answer: Awaitable[bytes]) -> bytes:
    """The answer; ClientDisconnect, and the work is given up, when the client goes away."""
    working, gone = asyncio.ensure_future(answer), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _file(name: str, kind: str) -> Handler:
    """A file of the page, which is read once."""
    content = files(__package__).joinpath("static", name).read_bytes()
    headers = {"cache-control": "no-cache", "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return answer


async def _refused(request: Request, error: Any) -> Response:
    return error_response(error.status, error.message, error.headers)


async def _http_error(request: Request, error: Any) -> Response:
    said = {404: "there is nothing at this path", 405: f"{request.method} is not for this path"}
    headers = dict(error.headers or {})
    return error_response(error.status_code, said.get(error.status_code, str(error.detail)), headers)


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours. Its traceback is logged where the server runs, for Starlette raises it again; it is not sent."""
    return error_response(500, "the server failed; its log says how")
