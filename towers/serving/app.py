"""The application: its routes, and how errors become answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Annotated, Any, Final

import prometheus_client
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import StringConstraints, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from towerzoo.registry.errors import RequestError
from towerzoo.towers.serving import schema as answers
from towerzoo.towers.serving.batching import Desk, Overloaded
from towerzoo.towers.serving.errors import Refusal, problems_of, require_known_parameters
from towerzoo.towers.serving.metrics import Measured, ServiceMetrics
from towerzoo.towers.serving.page import page
from towerzoo.towers.serving.runs import Reloading, ServedRun
from towerzoo.towers.serving.schema import LONGEST_TEXT, Limits, Recommend, recommend_model
from towerzoo.towers.serving.security import Access, BodyLimit

# No `from __future__ import annotations`: FastAPI reads annotations of functions that are made in a function.


RunName = Annotated[str | None, Query(max_length=LONGEST_TEXT, description="The run that answers; the first, if none.")]
RawId = Annotated[str, Path(min_length=1, max_length=LONGEST_TEXT, description="Raw id, or a title.")]
ItemName = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]
Told = Annotated[str, StringConstraints(min_length=3, max_length=LONGEST_TEXT, pattern="^[^=]+=.+$")]
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": answers.Problems, "description": why}
    for status, why in {
        401: "The token is missing or wrong.",
        403: "The service was not called by a loopback name.",
        413: "The body is too long.",
        422: "Something asked for is unknown, out of range or of the wrong type.",
        503: "Too many questions wait. Ask again.",
    }.items()
}


def create_app(
    runs: Sequence[ServedRun],
    *,
    token: str | None = None,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    watch: float | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> FastAPI:
    """Returns the service as an ASGI application; `app.state.reload()` lets newer runs answer.

    Args:
        runs: The runs; the first answers where none is named.
        token: What clients must show; none asks for none, and then answers loopback names alone.
        limits: How much one client may ask for.
        watch: Seconds between looks for newer runs; none looks for none.
        tell: Is told in a line of reloads.
    """
    metrics = ServiceMetrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = Desk(runs, limits, metrics)
        reloading = Reloading(runs, metrics, tell)
        app.state.reload = reloading.reload
        watching = asyncio.create_task(reloading.watch(watch)) if watch else None
        yield
        if watching is not None:
            watching.cancel()
        app.state.desk.close()

    app = FastAPI(
        title="TowerZoo",
        summary="Recommendations of finished runs.",
        version="1",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=REFUSALS,
    )
    app.add_middleware(BodyLimit, most=limits.body)
    app.add_middleware(Access, token=token)
    app.add_middleware(Measured, metrics=metrics)
    _handle_errors(app)
    _add_questions(app, limits)
    _add_operations(app, metrics, token)
    return app


def _add_questions(app: FastAPI, limits: Limits) -> None:
    Ask = recommend_model(limits)
    checked = [Depends(require_known_parameters)]
    Count = Annotated[int, Query(ge=1, le=limits.items, description="How many items.")]

    async def ask(name: str | None, asked: Any) -> Response:
        desk: Desk = app.state.desk
        return _json(await desk.ask(name, asked))

    async def recommend(asked: Ask) -> Response:  # type: ignore[valid-type]
        """Recommends to a known user, or to somebody new by features, liked items, or both."""
        return await ask(asked.run, asked)  # type: ignore[attr-defined]

    app.router.add_api_route(
        "/recommend",
        recommend,
        methods=["POST"],
        response_model=answers.Recommendations,
        responses=REFUSALS,
        route_class_override=JsonRoute,
    )

    @app.get("/items/{item:path}/similar", dependencies=checked, response_model=answers.SimilarItems)
    async def similar(item: RawId, k: Count = 10, run: RunName = None) -> Response:
        """Returns the items whose vectors are nearest to an item's."""
        return await ask(run, lambda answering: answering.similar(item, k))

    @app.get("/explain", dependencies=checked, response_model=answers.Explanation)
    async def explain(
        item: Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT, description="Raw id, or a title.")],
        user: Annotated[
            str | None, Query(min_length=1, max_length=LONGEST_TEXT, description="Raw id of a user.")
        ] = None,
        feature: Annotated[list[Told], Query(max_length=64, description="Features as NAME=VALUE.")] = [],  # noqa: B006
        liked: Annotated[list[ItemName], Query(max_length=200, description="Items they like.")] = [],  # noqa: B006
        disliked: Annotated[list[ItemName], Query(max_length=200, description="Items they dislike.")] = [],  # noqa: B006
        run: RunName = None,
    ) -> Response:
        """Explains an item's score: what each feature adds, what of the person's own is near, and where it ranks."""
        features = dict(text.split("=", 1) for text in feature)
        if len(features) < len(feature):
            raise Refusal(422, f"feature must name each feature once, got {', '.join(feature)}.")
        asked = Recommend.model_validate({"user": user, "features": features, "liked": liked, "disliked": disliked})
        return await ask(run, lambda answering: answering.explain(asked, item))

    @app.get("/items", dependencies=checked, response_model=answers.FoundItems)
    async def search(
        title: Annotated[str, Query(max_length=LONGEST_TEXT, description="A part of titles.")],
        limit: Count = 10,
        run: RunName = None,
    ) -> Response:
        """Returns items whose title holds a text, those that begin with it first."""
        return await ask(run, lambda answering: answering.search(title, limit))

    @app.get("/users/any", dependencies=checked, response_model=answers.AnyUser)
    async def anyone(run: RunName = None) -> Response:
        """Returns a known user, to try the service with."""
        return await ask(run, lambda answering: answering.anyone())

    @app.get("/runs", response_model=answers.Runs)
    async def about() -> Response:
        """Returns what is served, and what can be asked of it."""
        desk: Desk = app.state.desk
        told = [
            {"name": name, "most_items": limits.items, **await desk.ask(name, lambda answering: answering.about())}
            for name in desk.runs
        ]
        return _json({"runs": told})


def _add_operations(app: FastAPI, metrics: ServiceMetrics, token: str | None) -> None:
    @app.get("/health", response_model=answers.Health)
    async def health() -> Response:
        """Answers as soon as the service does."""
        return _json({"status": "ok"})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def counted() -> Response:
        """Returns counters for Prometheus."""
        return Response(metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    failed = {"model": answers.Problems, "description": "A run could not be opened; the one before it goes on."}

    @app.post("/reload", response_model=answers.Reloaded, responses={409: failed})
    async def reload() -> Response:
        """Lets newer runs answer; needs the token. Requests that were asked before are answered by the runs before."""
        if token is None:
            raise Refusal(
                403, "a reload by request must be asked with a token, got a service without one. Send SIGHUP."
            )
        if problems := await app.state.reload():
            raise Refusal(409, *problems)
        return _json({"runs": {name: run.current.path.name for name, run in app.state.desk.runs.items()}})

    @app.get("/", include_in_schema=False)
    async def web_page() -> Response:
        html, headers = page()
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)


def _handle_errors(app: FastAPI) -> None:
    def answered(refusal: Refusal) -> Response:
        return Response(refusal.body, refusal.status, refusal.headers, media_type="application/json")

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return answered(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answered(Refusal(422, *problems_of(error.errors())))

    @app.exception_handler(RequestError)
    async def unanswerable(request: Request, error: RequestError) -> Response:
        return answered(Refusal(422, *error.problems))

    @app.exception_handler(Overloaded)
    async def overloaded(request: Request, error: Overloaded) -> Response:
        return answered(Refusal(503, "too many questions wait. Ask again in a second.", headers={"retry-after": "1"}))

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        expected = "POST" if error.status_code == 405 and request.url.path in ("/recommend", "/reload") else "a route"
        problem = f"{request.method} {request.url.path[:LONGEST_TEXT]} must be {expected} of /openapi.json, got none."
        return answered(Refusal(error.status_code, problem, headers=error.headers))


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


class JsonRoute(APIRoute):
    """What FastAPI does for an endpoint that takes one body and returns a response, at a third of its time.

    Parameters in the address are refused: what a client gives there would have no effect.

    FastAPI reads JSON into Python and checks that; pydantic checks the bytes themselves. The schema is FastAPI's.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns what answers a request."""
        assert self.body_field is not None
        model, endpoint = self.body_field.field_info.annotation, self.endpoint

        async def handle(request: Request) -> Response:
            require_known_parameters(request)
            try:
                asked = model.model_validate_json(await request.body())  # type: ignore[union-attr]
            except ValidationError as error:
                problems = [
                    {**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)
                ]
                raise Refusal(422, *problems_of(problems)) from None
            response: Response = await endpoint(asked)
            return response

        return handle
