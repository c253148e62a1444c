"""How the service says no: a status, and all that is wrong, in the words of all other errors."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, get_origin

from starlette.requests import Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An ASGI application: called with a request's scope, and with what receives its body and sends the answer."""


class Refusal(Exception):  # noqa: N818  (an answer to the client, not a failure of the service)
    """An answer that says what is wrong with a request.

    Args:
        status: The HTTP status, 4xx or 503.
        problems: Sentences of the form `<where> must be <expected>, got <value!r>. <what to do next>`.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, *problems: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(*problems)
        self.status = status
        self.problems = problems
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The answer as JSON.

        Example:
            >>> Refusal(404, "user must be a user of the run, got 7.").body
            b'{"problems": ["user must be a user of the run, got 7."]}'
        """
        return json.dumps({"problems": self.problems}).encode()

    async def send(self, send: Send) -> None:
        """Sends it as the answer to a request."""
        headers = {"content-type": "application/json", "content-length": str(len(self.body)), **self.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})


LONGEST_SHOWN: Final = 80

EXPECTED: Final = {
    "missing": "given",
    "extra_forbidden": "left out, since nothing is called so",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_attributes_type": "a JSON object",
    "json_invalid": "JSON",
}
"""What a value must be, by pydantic's kind of error; other kinds say it in their own words."""


def problems_of(errors: Sequence[Any]) -> list[str]:
    """Returns a sentence for each error of pydantic's.

    Example:
        >>> problems_of([{"type": "missing", "loc": ("query", "item"), "msg": "Field required", "input": None}])
        ['item must be given, got nothing.']
        >>> error = {"type": "greater_than", "loc": ("body", "k"), "msg": "Input should be greater than 0", "input": 0}
        >>> problems_of([error])
        ['k must be greater than 0, got 0.']
    """
    return [_problem(error) for error in errors]


def require_known_parameters(request: Request) -> None:
    """Refuses parameters of an address that its route does not take, and several values of one that takes one.

    FastAPI leaves out the first and takes the last of the second, so that a client would get another answer than it
    asked for.

    Raises:
        Refusal: There are such.
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
            unknown = {"type": "extra_forbidden", "loc": ("query", name), "msg": "", "input": values[0]}
            problems.append(_problem(unknown))
        elif len(values) > 1 and not lists[name]:
            problems.append(f"{name} must be given once, got {len(values)} values.")
    if problems:
        raise Refusal(422, *problems)


def _problem(error: Mapping[str, Any]) -> str:
    kind, place = error["type"], error["loc"]
    if kind == "json_invalid":
        return f"the body must be JSON, got {error.get('ctx', {}).get('error', 'something else')}."
    names = [str(part) for part in place[1:]]
    where = ".".join(names) or f"the {place[0]}"
    message = str(error["msg"]).removeprefix("Value error, ")
    words = message.removeprefix("Input should be ").removeprefix("must be ")
    if words == message:
        words = f"valid ({message[:1].lower()}{message[1:]})"
    found = "nothing" if kind == "missing" else _shown(error.get("input"))
    return f"{where} must be {EXPECTED.get(kind, words)}, got {found}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
