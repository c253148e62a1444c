"""Responses that reject a request: a status and everything that is wrong with the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, get_origin

from starlette.requests import Request
from starlette.responses import JSONResponse

from towerzoo.registry.errors import RequestError

LONGEST_VALUE: Final = 80
"""Characters of a value that a message shows."""

EXPECTED: Final = {
    "missing": "given",
    "extra_forbidden": "left out, because no parameter has this name",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "a JSON object",
}
"""What a value must be, by pydantic's type of error; the text of pydantic serves for other types."""


def error_response(status: int, problems: Iterable[str], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Returns the response that rejects a request.

    Args:
        status: HTTP status, 4xx or 503.
        problems: One sentence or two for each problem.
        headers: Further headers.

    Example:
        >>> error_response(404, ["user must be a user of the run, got 7."]).body
        b'{"problems":["user must be a user of the run, got 7."]}'
    """
    return JSONResponse({"problems": list(problems)}, status, headers)


def problems_of(errors: Iterable[Any]) -> list[str]:
    """Returns a sentence for each error of a pydantic ValidationError or a FastAPI RequestValidationError.

    Example:
        >>> problems_of([{"type": "missing", "loc": ("query", "item"), "msg": "Field required", "input": None}])
        ['item must be given, got nothing.']
        >>> error = {"type": "greater_than", "loc": ("body", "k"), "msg": "Input should be greater than 0", "input": 0}
        >>> problems_of([error])
        ['k must be greater than 0, got 0.']
    """
    return [_problem(error) for error in errors]


async def require_known_parameters(request: Request) -> None:
    """Rejects query parameters that the route does not have, and repeated parameters that are no list.

    FastAPI ignores the former and takes the last of the latter, so a client would get an answer to another request.

    Raises:
        RequestError: There are such parameters.
    """
    if not request.query_params:
        return
    lists = {
        field.alias: get_origin(field.field_info.annotation) is list
        for field in request.scope["route"].dependant.query_params
    }
    problems: list[str] = []
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name not in lists:
            problems.append(_problem({"type": "extra_forbidden", "loc": ("query", name), "input": values[0]}))
        elif len(values) > 1 and not lists[name]:
            problems.append(f"{name} must be given once, got {len(values)} values.")
    if problems:
        raise RequestError(*problems)


def _problem(error: Mapping[str, Any]) -> str:
    kind, (place, *names) = error["type"], error["loc"]
    if kind == "json_invalid":
        return f"the body must be JSON, got {error.get('ctx', {}).get('error', 'something else')}."
    where = ".".join(map(str, names)) or f"the {place}"
    text = str(error.get("msg", "")).removeprefix("Value error, ")
    expected = text.removeprefix("Input should be ").removeprefix("must be ")
    if expected == text:
        expected = f"valid ({text[:1].lower()}{text[1:]})"
    value = "nothing" if kind == "missing" else repr(error.get("input"))
    if len(value) > LONGEST_VALUE:
        value = f"{value[: LONGEST_VALUE - 3]}..."
    return f"{where} must be {EXPECTED.get(kind, expected)}, got {value}."
