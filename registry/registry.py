"""Names become objects here: `Registry.register`, `Registry.get`, `Registry.build`."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic_core import core_schema

from towerzoo.registry.errors import InvalidSetting, PartError, RegistryError, TowerZooError, name_hint
from towerzoo.registry.source_lines import CUSTOM_FILES, error_line, source_line

Spec = str | Mapping[str, Any]
"""A part as YAML names it: its bare name, or a mapping of `name` and parameters."""

_Part = TypeVar("_Part", bound=Callable[..., Any])
REQUIRED: Final = inspect.Parameter.empty
"""The default of a parameter that has none."""


class Registry:
    """The named parts of one kind, and the contract that they share.

    Args:
        kind: What one part is called in messages, such as `block`.
        contract: How a part is called and what it returns, in a sentence; shown to people who write parts.
        context: Arguments that TowerZoo passes to every part. All other arguments of a part are its YAML parameters.
        key: The YAML key that holds the part's name.
        homes: Modules and packages that hold TowerZoo's own parts. A look-up imports them one by one until it has found
            the part, first the module that is named like it.

    Example:
        >>> GREETINGS = Registry("greeting", "called with `name_of`, and returns a sentence", context=("name_of",))
        >>> @GREETINGS.register("hello")
        ... def hello(name_of: str, mark: str = "!") -> str:
        ...     return f"Hello {name_of}{mark}"
        >>> GREETINGS.build({"name": "hello", "mark": "?"}, name_of="Ann")
        'Hello Ann?'
    """

    def __init__(
        self,
        kind: str,
        contract: str,
        *,
        context: tuple[str, ...] = (),
        key: str = "name",
        homes: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.contract = contract
        self.context = context
        self.key = key
        self.homes = homes
        self._modules = list(homes)
        self._parts: dict[str, Callable[..., Any]] = {}
        self._registrars: dict[str, str] = {}

    def register(self, name: str) -> Callable[[_Part], _Part]:
        """Returns a decorator that enters a class or function under `name` and returns it unchanged.

        Raises:
            RegistryError: The name is no text or is taken, or the part cannot be called with keywords, the context
                arguments of this registry among them, or has defaults that YAML cannot hold.
        """
        if not isinstance(name, str):
            raise RegistryError(
                f"{self.kind} name must be text, got {name!r}. "
                f"Write the name in brackets: @{self.kind.upper()}S.register('a-name')."
            )
        # Not the part's own module: a file may register something that another defines, such as a class of torch.
        registrar = sys._getframe(1).f_globals.get("__name__", "")
        if not registrar.startswith(self.homes):
            self.names()  # so that TowerZoo's own names are taken

        def enter(part: _Part) -> _Part:
            if previous := self._parts.get(name):
                same = getattr(part, "__qualname__", part) == getattr(previous, "__qualname__", previous)
                if not (same and registrar == self._registrars[name] == "__main__"):  # the cell of a notebook again
                    raise RegistryError(
                        f"{source_line(part)}: {self.kind} name must be new, got {name!r}. "
                        f"It is registered already at {source_line(previous)}; choose another name."
                    )
            if problem := self._signature_problem(part):
                raise RegistryError(f"{source_line(part)}: {self.kind} {name!r} must {problem}")
            self._parts[name], self._registrars[name] = part, registrar
            return part

        return enter

    def _signature_problem(self, part: Callable[..., Any]) -> str:
        """Returns what a part must be callable with, or hold, and does not, to be read after "must"; or nothing."""
        signature = inspect.signature(part)
        accepted = signature.parameters.values()
        missing = [argument for argument in self.context if argument not in signature.parameters]
        if missing and not any(p.kind is p.VAR_KEYWORD for p in accepted):
            return (
                f"be callable with {', '.join(self.context)}, got a signature without {', '.join(missing)}. "
                f"The {self.kind} is {self.contract}."
            )
        if nameless := [p.name for p in accepted if p.kind is p.POSITIONAL_ONLY or p.name == self.key]:
            return (
                f"be callable with keywords other than {self.key!r}, got {signature}. "
                f"Rename {nameless[0]}, and move it behind any `/`."
            )
        for parameter in accepted:
            if parameter.name not in self.context and not _is_plain(parameter.default):
                return (
                    f"have defaults that YAML can hold, got {parameter.name}={parameter.default!r}. "
                    "Use None or a name as the default, and make the object in the body."
                )
        return ""

    def _import_until(self, name: str | None) -> None:
        """Imports TowerZoo's own parts: all of them for None, otherwise until `name` is registered."""
        while self._modules and (name is None or name not in self._parts):
            likely = (module for module in self._modules if name and _alike(name, module.rpartition(".")[2]))
            module = next(likely, self._modules[0])
            self._modules.remove(module)
            package = importlib.import_module(module)
            if hasattr(package, "__path__"):
                self._modules[:0] = [f"{module}.{inner.name}" for inner in pkgutil.iter_modules(package.__path__)]

    def get(self, name: str) -> Callable[..., Any]:
        """Returns the part registered under `name`.

        Raises:
            RegistryError: There is none; the message gives the nearest name and all names.
        """
        if name not in self:
            hint = name_hint(name, self.names(), "Registered")
            raise RegistryError(f"{self.kind} must be a registered {self.kind}, got {name!r}. {hint}")
        return self._parts[name]

    def build(self, spec: Spec, **context: Any) -> Any:
        """Calls the part that `spec` names with the context and the spec's parameters.

        Raises:
            RegistryError: The spec names no part, or one that is not registered.
            PartError: The part raises an error that is not one of TowerZoo's.
        """
        name, parameters = self.split(spec)
        with self.errors_named(spec, f"be built with {parameters}" if parameters else "be built"):
            return self.get(name)(**context, **parameters)

    def fact(self, spec: Spec, name: str, default: Any = None) -> Any:
        """Returns a fact about a part without building it.

        It is the parameter of that name, from the spec or by its default; else the part's attribute; else `default`.

        Raises:
            RegistryError: The spec names no part.
            InvalidSetting: The spec lacks the parameter, and it has no default.
        """
        part, parameters = self.split(spec)
        defaults = {p.name: p.default for p in self.parameters(part)}
        value = (defaults | parameters).get(name, getattr(self.get(part), name, default))
        if value is REQUIRED:
            raise InvalidSetting(name)
        return value

    @contextlib.contextmanager
    def errors_named(self, spec: Spec, requirement: str) -> Iterator[None]:
        """Turns any error inside into one that names the part of `spec`, its `requirement` and the line of its file.

        Raises:
            PartError: For every error but TowerZoo's own, which pass.
        """
        try:
            yield
        except TowerZooError:
            raise
        except Exception as error:
            where = error_line(self.get(self.split(spec)[0]), error)
            reason, *_ = str(error).strip().split("\n")
            actual = f"{type(error).__name__}: {reason}"
            hint = "--debug shows the traceback."
            raise self.part_error(spec, f"{requirement} without an error", actual, hint, where) from error

    def part_error(self, spec: Spec, requirement: str, actual: str, next_step: str = "", where: str = "") -> PartError:
        """Returns the error for a part that breaks its contract; it says at which line of which file.

        Args:
            spec: The part.
            requirement: What it must do or be, to be read after "must".
            actual: What it did or was.
            next_step: What to do about it; whole sentences, or empty.
            where: The source line; by default that of the part's definition.
        """
        name = self.split(spec)[0]
        where = where or source_line(self.get(name))
        next_step = f"{next_step} The {self.kind} is {self.contract}.".strip()
        return PartError(
            f"{where}: {self.kind} {name!r} must {requirement}, got {actual.removesuffix('.')}.\n    {next_step}"
        )

    def split(self, spec: Spec) -> tuple[str, dict[str, Any]]:
        """Splits a spec into the part's name and its parameters.

        Raises:
            RegistryError: The spec names no part.
        """
        if isinstance(spec, str):
            return spec, {}
        if not isinstance(spec, Mapping) or self.key not in spec:
            hint = name_hint("", self.names(), "Registered")
            raise RegistryError(f"{self.kind} must be {self.expected()}, got {spec!r}. {hint}")
        return spec[self.key], {key: value for key, value in spec.items() if key != self.key}

    def expected(self) -> str:
        """Returns what a spec must be, in the words of messages."""
        return f"the name of a registered {self.kind}, or a mapping with {self.key!r}"

    def names(self) -> tuple[str, ...]:
        """Returns all registered names in alphabetical order."""
        self._import_until(None)
        return tuple(sorted(self._parts))

    def parameters(self, name: str) -> tuple[inspect.Parameter, ...]:
        """Returns the YAML parameters of a part: its signature without context, its types evaluated."""
        return _parameters(self.get(name), self.context)

    def takes_any(self, name: str) -> bool:
        """Returns whether a part takes `**kwargs`, and so parameters of any name."""
        return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.get(name)).parameters.values())

    def of_session(self, name: str) -> bool:
        """Returns whether a part was registered in a notebook or script, not by a file of `imports`."""
        return not self._registrars[name].startswith(("towerzoo.", CUSTOM_FILES))

    def forget(self, module: str) -> None:
        """Removes the parts that a module has registered."""
        self._parts = {name: part for name, part in self._parts.items() if self._registrars[name] != module}

    def describe(self, name: str) -> str:
        """Returns a part's intent: the first line of its docstring."""
        return (inspect.getdoc(self.get(name)) or "(no docstring)").splitlines()[0]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Lets `Annotated[Spec, REGISTRY]` pass pydantic: parts are checked by signature, with all problems at once."""
        return core_schema.any_schema()

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        self._import_until(name)
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def _alike(part: str, module: str) -> bool:
    return part.replace("-", "_").startswith(module.removesuffix("s"))


def _is_plain(default: Any) -> bool:
    """Returns whether a default can be written to a run's config."""
    try:
        return default is REQUIRED or bool(yaml.safe_dump(default))
    except yaml.representer.RepresenterError:
        return False


@functools.cache
def _parameters(part: Callable[..., Any], context: tuple[str, ...]) -> tuple[inspect.Parameter, ...]:
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    given = inspect.signature(part).parameters.values()
    parameters = [p for p in given if p.name not in context and p.kind not in variadic]
    # Without context arguments: their types may be imported for type checkers only.
    annotations = types.SimpleNamespace(
        __annotations__={p.name: p.annotation for p in parameters if p.annotation is not p.empty}
    )
    function = inspect.unwrap(part.__init__ if inspect.isclass(part) else part)
    try:
        hints = typing.get_type_hints(annotations, getattr(function, "__globals__", {}), include_extras=True)
    except Exception as error:  # an annotation may raise anything
        raise RegistryError(
            f"{source_line(part)}: the annotations of {part.__qualname__} must be types that its module imports, got "
            f"{type(error).__name__}: {error}. Parameters are checked by them; import no such type under "
            "`if TYPE_CHECKING:`."
        ) from error
    return tuple(p.replace(annotation=hints.get(p.name, Any)) for p in parameters)


def registry_of(annotation: Any) -> Registry | None:
    """Returns the registry in an annotation such as `Annotated[Spec, BLOCKS]`, which marks the value as a part's."""
    if typing.get_origin(annotation) is Annotated:
        return next((extra for extra in typing.get_args(annotation)[1:] if isinstance(extra, Registry)), None)
    return None
