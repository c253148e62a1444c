"""The application: its routes, and the responses to errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final

import prometheus_client
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from towerzoo.registry.errors import RequestError
from towerzoo.towers.serving import schema
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.batching import Overloaded, RequestQueue
from towerzoo.towers.serving.errors import error_response, problems_of, require_known_parameters
from towerzoo.towers.serving.metrics import MetricsMiddleware, ServiceMetrics
from towerzoo.towers.serving.page import page
from towerzoo.towers.serving.runs import Reloader, ServedRun
from towerzoo.towers.serving.schema import LONGEST_TEXT, Limits, RecommendRequest, recommend_request
from towerzoo.towers.serving.security import Access, read_body

# No `from __future__ import annotations`: FastAPI reads the annotations of nested functions.

RunName = Annotated[str | None, Query(max_length=LONGEST_TEXT, description="Run that answers; by default the first.")]
ItemName = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]
FeatureValue = Annotated[str, StringConstraints(min_length=3, max_length=LONGEST_TEXT, pattern="^[^=]+=.+$")]
ERROR_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": schema.Problems, "description": why}
    for status, why in {
        401: "The token is missing or wrong.",
        403: "The request did not use a loopback name.",
        413: "The body is too long.",
        422: "A value is unknown, out of range or of the wrong type.",
        503: "Too many requests are waiting. Try again.",
    }.items()
}


def create_app(
    runs: Sequence[ServedRun],
    *,
    token: str | None = None,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    watch: float | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> FastAPI:
    """Returns the service as an ASGI application; `app.state.reload()` loads newer runs.

    Args:
        runs: The runs; the first one answers requests that name none.
        token: Bearer token of clients; None requires no token, but loopback names.
        limits: Limits of requests.
        watch: Seconds between checks for newer runs; None for no checks.
        report: Called with a line about each reload.
    """
    metrics = ServiceMetrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.queue = RequestQueue(runs, limits, metrics)
        reloader = Reloader(runs, metrics, report)
        app.state.reload = reloader.reload
        watching = asyncio.create_task(reloader.watch(watch)) if watch else None
        yield
        if watching is not None:
            watching.cancel()
        app.state.queue.close()

    app = FastAPI(
        title="TowerZoo",
        summary="Recommendations from finished runs.",
        version="1",
        docs_url=None,  # FastAPI's page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=ERROR_RESPONSES,
    )
    app.add_middleware(Access, token=token)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    _handle_errors(app)
    _add_routes(app, limits)
    _add_operations(app, metrics, token)
    return app


def _add_routes(app: FastAPI, limits: Limits) -> None:
    Body = recommend_request(limits)
    checked = [Depends(require_known_parameters)]
    Count = Annotated[int, Query(ge=1, le=limits.items, description="Number of items.")]

    async def respond(run: str | None, request: Any) -> Response:
        queue: RequestQueue = app.state.queue
        return _json(await queue.submit(run, request))

    # The endpoint reads its body itself. With a body parameter, a request takes a quarter more of the processor's time,
    # and FastAPI requires a content type that `curl -d` does not send.
    body_schema = {"content": {"application/json": {"schema": Body.model_json_schema()}}, "required": True}

    @app.post("/recommend", response_model=schema.Recommendations, openapi_extra={"requestBody": body_schema})
    async def recommend(request: Request) -> Response:
        """Recommends items to a known user, or to a new user by features, liked items, or both."""
        await require_known_parameters(request)
        try:
            body = Body.model_validate_json(await read_body(request, limits.body))
        except ValidationError as error:
            errors = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
            raise RequestError(*problems_of(errors)) from None
        return await respond(body.run, body)

    @app.get("/items/{item:path}/similar", dependencies=checked, response_model=schema.SimilarItems)
    async def similar(
        item: Annotated[str, Path(min_length=1, max_length=LONGEST_TEXT, description="Raw id or title.")],
        k: Count = 10,
        run: RunName = None,
    ) -> Response:
        """Returns the items most similar to an item."""
        return await respond(run, lambda answers: answers.similar(item, k))

    @app.get("/explain", dependencies=checked, response_model=schema.RunExplanation)
    async def explain(
        item: Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT, description="Raw id or title.")],
        user: Annotated[
            str | None, Query(min_length=1, max_length=LONGEST_TEXT, description="Raw id of a user.")
        ] = None,
        feature: Annotated[list[FeatureValue], Query(max_length=64, description="Features as NAME=VALUE.")] = [],  # noqa: B006
        liked: Annotated[list[ItemName], Query(max_length=200, description="Items that the user likes.")] = [],  # noqa: B006
        disliked: Annotated[list[ItemName], Query(max_length=200, description="Items that the user dislikes.")] = [],  # noqa: B006
        run: RunName = None,
    ) -> Response:
        """Explains an item's score: the effect of each feature, the item's rank, and similar items of the user."""
        features = dict(text.split("=", 1) for text in feature)
        if len(features) < len(feature):
            raise RequestError(f"feature must name each feature once, got {', '.join(feature)}.")
        request = RecommendRequest(user=user, features=features, liked=liked, disliked=disliked)
        return await respond(run, lambda answers: answers.explain(request, item))

    @app.get("/items", dependencies=checked, response_model=schema.FoundItems)
    async def search(
        title: Annotated[str, Query(max_length=LONGEST_TEXT, description="Part of the title.")],
        limit: Count = 10,
        run: RunName = None,
    ) -> Response:
        """Finds items whose title contains a text; titles that start with it come first."""
        return await respond(run, lambda answers: answers.search(title, limit))

    @app.get("/users/any", dependencies=checked, response_model=dict[str, int | str])
    async def random_user(run: RunName = None) -> Response:
        """Returns a random known user, to try the service."""
        return await respond(run, lambda answers: answers.random_user())

    @app.get("/runs", response_model=dict[str, list[schema.RunAbout]])
    async def about() -> Response:
        """Describes the served runs and their features."""
        queue: RequestQueue = app.state.queue
        requests = {name: partial(RunAnswers.about, name=name, most_items=limits.items) for name in queue.runs}
        return _json({"runs": [await queue.submit(name, request) for name, request in requests.items()]})


def _add_operations(app: FastAPI, metrics: ServiceMetrics, token: str | None) -> None:
    @app.get("/health", response_model=dict[str, str])
    async def health() -> Response:
        """Answers as soon as the service accepts requests."""
        return _json({"status": "ok"})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def counters() -> Response:
        """Returns counters for Prometheus."""
        return Response(
            prometheus_client.generate_latest(metrics.registry), media_type=prometheus_client.CONTENT_TYPE_LATEST
        )

    failed = {"model": schema.Problems, "description": "A run could not be opened; the previous one continues."}

    @app.post("/reload", response_model=dict[str, dict[str, str]], responses={409: failed})
    async def reload() -> Response:
        """Loads newer runs; requires the token. The previous runs answer earlier requests."""
        if token is None:
            raise HTTPException(403, ["A service without a token reloads only on a signal. Send SIGHUP."])  # type: ignore[arg-type]
        if problems := await app.state.reload():
            raise HTTPException(409, problems)
        return _json({"runs": {name: run.current.path.name for name, run in app.state.queue.runs.items()}})

    @app.get("/", include_in_schema=False)
    async def web_page() -> Response:
        html, headers = page()
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return error_response(422, problems_of(error.errors()))

    @app.exception_handler(RequestError)
    async def unanswerable(request: Request, error: RequestError) -> Response:
        return error_response(422, error.problems)

    @app.exception_handler(Overloaded)
    async def overloaded(request: Request, error: Overloaded) -> Response:
        return error_response(503, ["Too many requests are waiting. Try again in a second."], {"retry-after": "1"})

    @app.exception_handler(HTTPException)
    async def rejected(request: Request, error: HTTPException) -> Response:
        problems: Any = error.detail
        if not isinstance(problems, list):  # raised by the router
            method = "POST" if error.status_code == 405 and request.url.path in ("/recommend", "/reload") else None
            advice = f"Use {method}." if method else "See /openapi.json."
            problems = [f"There is no route {request.method} {request.url.path[:LONGEST_TEXT]}. {advice}"]
        return error_response(error.status_code, problems, error.headers)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
