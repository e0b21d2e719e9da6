"""Runs a chat template, which is somebody else's program: no access to Python, and bounded work.

jinja2's sandbox keeps a template from everything but its arguments, and bounds neither its time nor
what it makes. Here every turn of a loop, call, filter and piece of text costs steps
(`template_costs.py`). jinja2 is imported only when a template is used.
"""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from .. import limits
from . import template_costs as costs

if TYPE_CHECKING:
    from jinja2 import Template

_CALL = 40  # steps that a call costs
# What fills up or repeats text, or makes bytes; `join` and `replace` are measured first.
_FORBIDDEN = frozenset(
    ("translate", "format", "format_map", "expandtabs", "encode", "to_bytes", "maketrans")
)
# Filters that pass on what is in a list without looking at it; all others write or compare it.
_PASSING = frozenset(
    ("attr", "batch", "count", "d", "default", "first", "items", "last", "length", "list", "map")
) | {"random", "reject", "rejectattr", "reverse", "select", "selectattr", "slice"}
# Filters that work in Python, a character after the other, some of them on all the rest each time.
_SLOW = frozenset(
    ("pprint", "striptags", "title", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr")
)
# Tests that only ask for a type, or whether something is there.
_TYPES = frozenset(
    ("boolean", "callable", "defined", "escaped", "false", "filter", "float", "integer", "iterable")
) | {"mapping", "none", "number", "sameas", "sequence", "string", "test", "true", "undefined"}


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
    token = costs.steps_left.set([limits.TEMPLATE_STEPS + 10 * len(messages) ** 2 + length])
    try:
        pieces = _compiled(source).generate(messages=messages, **variables)
        return "".join(costs.measured(pieces))
    finally:
        costs.steps_left.reset(token)


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its result is counted; jinja2's marks on it stay."""
    before = 1 if hasattr(function, "jinja_pass_arg") else 0  # environment or context

    @wraps(function)
    def bounded(*arguments: Any, **options: Any) -> Any:
        passed = arguments[:before]
        subject, *others = arguments[before:] or (None,)
        given = [*others, *options.values()]
        if name in _PASSING:
            costs.paid(subject)
        elif isinstance(subject, Iterator):
            subject = costs.measured(subject)
        else:
            length = costs.written(subject) + costs.written(given)
            if name in _SLOW:
                costs.spend(length + length**2 // 10**6)
            if not isinstance(subject, str) and name in ("trim", "urlize"):
                subject = str(subject)
        if name == "format":
            costs.check_format(str(subject), options or tuple(others))
        costs.check(name, given, subject)
        result = function(*passed, subject, *others, **options)
        # lazily made, by `map` and the like
        return costs.counted(result) if isinstance(result, Iterator) else costs.paid(result)

    return bounded


def _test(name: str, function: Any) -> Callable[..., Any]:
    """Wrap a test so that what it compares is counted."""

    @wraps(function)
    def bounded(subject: Any, *arguments: Any) -> Any:
        for value in (subject, *arguments):
            costs.compared(value)
        if isinstance(subject, str) and name in ("odd", "even", "divisibleby"):
            raise ValueError("a text is no number")  # its `%` would format it
        return function(subject, *arguments)

    return bounded


def _sliced(value: Any) -> Any:
    costs.spend(1 + len(value) // costs.CHARACTERS)
    return value


def _replaced(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(value), str(old), str(new)
    costs.check("replace", (old, new), text)
    return text.replace(old, new, -1 if count is None else count)


def _tojson(value: Any, indent: int | str | None = None) -> str:
    """As JSON, without jinja's own escapes for HTML."""
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    return "".join(
        costs.measured(json.JSONEncoder(ensure_ascii=False, indent=indent).iterencode(value))
    )


@lru_cache(maxsize=4)
def _compiled(source: str) -> "Template":
    from jinja2 import TemplateError, nodes, pass_context, pass_environment
    from jinja2.filters import make_attrgetter
    from jinja2.runtime import LoopContext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "-", "*", "%", "**"))
        intercepted_unops = frozenset[str]()

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "*":
                for text, times in ((left, right), (right, left)):
                    if isinstance(text, str | list | tuple) and isinstance(times, int):
                        size = 1 if isinstance(text, str) else costs.CHARACTERS
                        costs.need_short(len(text) * times * size)
            if operator == "**":
                costs.check("a power", (left, right))
                if abs(right) > 64:
                    raise ValueError("a power is too large")
            if operator == "%" and isinstance(left, str):
                costs.check_format(left, right)
            if operator == "-":  # of the keys of two objects
                costs.written((left, right))
            return costs.paid(super().call_binop(context, operator, left, right))

        def call(self, context: Any, called: Any, *arguments: Any, **options: Any) -> Any:
            name = getattr(called, "__name__", "a call")
            subject = getattr(called, "__self__", None)
            costs.spend(_CALL + len(arguments) + len(options))
            if name in _FORBIDDEN or hasattr(called, "__objclass__"):  # dict.update changes any
                raise ValueError(f"{name} is not allowed")
            if isinstance(called, LoopContext) and arguments:  # `loop(...)`, a loop again
                arguments = (costs.counted(arguments[0]), *arguments[1:])
            if name == "join" and isinstance(subject, str) and arguments:
                arguments = (costs.measured(arguments[0], len(subject)), *arguments[1:])
            else:
                costs.paid((arguments, options))
            if isinstance(subject, str | list | tuple):
                costs.written((subject, arguments, options))
            if isinstance(subject, str):
                costs.check(name, [*arguments, *options.values()], subject)
            return costs.paid(super().call(context, called, *arguments, **options))

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    @pass_context  # so that jinja2 does not write constants while it compiles: none would count
    def finalized(_: Any, value: Any) -> str:
        costs.written(value)
        return value if isinstance(value, str) else str(value)

    @pass_environment
    def joined(of: Any, items: Any, d: Any = "", attribute: Any = None) -> str:
        if attribute is not None:
            items = map(make_attrgetter(of, attribute), items)
        return str(d).join(map(str, costs.measured(items, len(str(d)))))

    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
        optimized=False,  # nothing is computed while it is compiled
        finalize=finalized,
    )
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = raise_exception
    environment.filters |= {"tojson": _tojson, "replace": _replaced, "join": joined}
    for name, function in environment.filters.items():
        environment.filters[name] = _filter(name, function)
    for name in environment.tests.keys() - _TYPES:
        environment.tests[name] = _test(name, environment.tests[name])
    own = {"counted": costs.counted, "paid": costs.paid, "compared": costs.compared}
    environment.filters |= {**own, "sliced": _sliced}
    tree = environment.parse(source)

    def through(name: str, node: Any) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def paid(value: Any) -> Any:
        """Count what is joined, and lists that are written down: one may be in another twice."""
        if isinstance(value, nodes.Getitem) and isinstance(value.arg, nodes.Slice):
            return through("sliced", value)
        if isinstance(value, nodes.Getitem) and not isinstance(value.arg, nodes.Const):
            value.arg = through("compared", value.arg)
        made = isinstance(value, nodes.Concat | nodes.List | nodes.Tuple | nodes.Dict)
        return through("paid", value) if made and getattr(value, "ctx", "load") == "load" else value

    for concat in list(tree.find_all(nodes.Concat)):
        concat.nodes = [through("compared", node) for node in concat.nodes]
    for output in list(tree.find_all(nodes.Output)):  # the template's own text, in a loop too
        output.nodes = [
            nodes.MarkSafeIfAutoescape(nodes.Const(node.data, lineno=node.lineno))
            if isinstance(node, nodes.TemplateData)
            else node
            for node in output.nodes
        ]
    for compare in list(tree.find_all(nodes.Compare)):
        compare.expr = through("compared", compare.expr)
        for operand in compare.ops:
            operand.expr = through("compared", operand.expr)
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
