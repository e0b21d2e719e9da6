"""Runs a chat template, which is somebody else's program: no access to Python, and bounded work.

jinja2's sandbox keeps a template from everything but its arguments, and bounds neither its time nor
what it makes. Here every turn of a loop, call, filter and piece of text costs steps, counted, so
that the bound is the same on any machine. jinja2 is imported only when a template is used.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from .. import limits

if TYPE_CHECKING:
    from jinja2 import Template

_CHARACTERS = 64  # that cost a step
_CALL = 40  # steps that a call costs
_NUMBER = 10_000  # the largest that a filter or method may be given: widths, counts
_WIDE = re.compile(r"\d{5,}|\*")  # of a format: %99999d
# What fills up or repeats text; `join` and `replace` are measured first.
_FORBIDDEN = frozenset(("translate", "format", "format_map", "expandtabs"))

_left: ContextVar[list[int]] = ContextVar("steps that a template may still take")


def run(source: str, messages: list[dict[str, Any]], **variables: object) -> str:
    """Render a template.

    Args:
        messages: the conversation; a longer one may take more steps.

    Raises:
        Exception: whatever the template raises, and what exceeds a bound.
    """
    if len(source.encode()) > limits.TEMPLATE_BYTES:
        raise ValueError(f"it has more than {limits.TEMPLATE_BYTES:,} bytes")
    # the published templates look back from each message, and write each text about ten times
    length = len(repr(messages)) + len(repr(variables))
    token = _left.set([limits.TEMPLATE_STEPS + 10 * len(messages) ** 2 + length])
    try:
        text = "".join(_compiled(source).generate(messages=messages, **variables))
        _need_short(len(text))
        return text
    finally:
        _left.reset(token)


def _spend(steps: int) -> None:
    left = _left.get()
    left[0] -= steps
    if left[0] < 0:
        raise ValueError("it takes too many steps, or makes too much text")


def _need_short(length: int) -> None:
    if length > limits.TEMPLATE_CHARACTERS:
        raise ValueError(f"it makes more than {limits.TEMPLATE_CHARACTERS:,} characters")


def _paid(value: Any) -> Any:
    """Count what was made."""
    if isinstance(value, str | bytes):
        _need_short(len(value))
        _spend(1 + len(value) // _CHARACTERS)
    elif isinstance(value, list | tuple | dict):
        _spend(1 + len(value))
        # what is inside may be one list many times over, which is endless when it is written
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, list | tuple | dict):
                _paid(inner)
    elif isinstance(value, int) and value.bit_length() > 256:
        raise ValueError("it makes too large a number")
    else:
        _spend(1)
    return value


def _check(name: str, arguments: Iterable[Any], subject: Any = None) -> None:
    """Refuse, before it is done, what would make far more than it is given."""
    given = list(arguments)
    if any(isinstance(a, int) and not isinstance(a, bool) and abs(a) > _NUMBER for a in given):
        raise ValueError(f"{name} is given too large a number")
    texts = [a for a in given if isinstance(a, str)]
    if name == "replace" and isinstance(subject, str) and len(texts) > 1:
        _need_short(len(subject) + subject.count(texts[0]) * len(texts[1]))
    if name == "join":
        items, between = (given[0], subject) if isinstance(subject, str) else (subject, "")
        between = between or next(iter(texts), "")
        known = items if isinstance(items, list | tuple) else [""] * _NUMBER
        _need_short(sum(len(between) + len(i) for i in known if isinstance(i, str)))
    if name in ("format", "indent") and (_WIDE.search(str(subject)) and name == "format"):
        raise ValueError("a format is too wide")
    if name == "indent" and isinstance(subject, str):
        width = max((a for a in given if isinstance(a, int)), default=4)
        width = max([width, *map(len, texts)])
        _need_short(len(subject) + width * subject.count("\n"))


def _counted(items: Any) -> Iterator[Any]:
    for item in items:
        _spend(1)
        yield item


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose result is counted; jinja2's marks on it stay."""
    before = 1 if hasattr(function, "jinja_pass_arg") else 0  # environment or context

    @wraps(function)
    def bounded(*arguments: Any, **options: Any) -> Any:
        subject, *others = arguments[before:] or (None,)
        _check(name, [*others, *options.values()], _paid(subject))
        result = function(*arguments, **options)
        # lazily made, by `map` and the like
        return _counted(result) if isinstance(result, Iterator) else _paid(result)

    return bounded


@lru_cache(maxsize=4)
def _compiled(source: str) -> "Template":
    from jinja2 import TemplateError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "*", "%", "**"))
        intercepted_unops = frozenset[str]()

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "*":
                for text, times in ((left, right), (right, left)):
                    if isinstance(text, str | list | tuple) and isinstance(times, int):
                        _need_short(len(text) * times)
            if operator == "**":
                _check("a power", (left, right))
                if abs(right) > 64:
                    raise ValueError("a power is too large")
            if operator == "%" and isinstance(left, str) and _WIDE.search(left):
                raise ValueError("a format is too wide")
            return _paid(super().call_binop(context, operator, left, right))

        def call(self, context: Any, called: Any, *arguments: Any, **options: Any) -> Any:
            name = getattr(called, "__name__", "a call")
            subject = getattr(called, "__self__", None)
            _spend(_CALL)
            if name in _FORBIDDEN:
                raise ValueError(f"{name} is not allowed")
            if isinstance(subject, str | bytes):
                _check(name, [*arguments, *options.values()], subject)
            return _paid(super().call(context, called, *arguments, **options))

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
        optimized=False,  # nothing is computed while it is compiled
        finalize=_paid,
    )
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = raise_exception
    # jinja's own escapes for HTML
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent
    )
    for name, function in environment.filters.items():
        environment.filters[name] = _filter(name, function)
    environment.filters["counted"], environment.filters["paid"] = _counted, _paid
    tree = environment.parse(source)

    def through(name: str, node: Any) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def paid(value: Any) -> Any:
        """Count what is joined, and lists that are written down: one may be in another twice."""
        made = isinstance(value, nodes.Concat | nodes.List | nodes.Tuple | nodes.Dict)
        return through("paid", value) if made and getattr(value, "ctx", "load") == "load" else value

    for joined in list(tree.find_all(nodes.Concat)):
        joined.nodes = [through("paid", node) for node in joined.nodes]
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = through("counted", loop.iter)
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in list(parent.iter_fields()):
            if isinstance(value, list):
                value[:] = map(paid, value)
            else:
                setattr(parent, field, paid(value))
    tree.set_environment(environment)
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))
