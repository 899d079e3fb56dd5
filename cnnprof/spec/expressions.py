"""Arithmetic in a spec: `4*w`, `k//2`, `s > 1 or in_channels != out`.

Python's own parser reads it, an allow-list of its nodes says what it may hold: nothing that has a name in Python can be
reached, and no value can grow until it exhausts the machine. Each piece keeps its column, so that an error points at it.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from cnnprof.errors import Span, SpecError, did_you_mean
from cnnprof.spec.reader import Scalar

Value: TypeAlias = int | float | bool | str | tuple[Any, ...] | None
"""What a name can stand for. Words and lists come from `vars` alone; an expression computes numbers and truth values."""

Scope: TypeAlias = Mapping[str, Value]

MAX_LENGTH = 200
MAX_DEPTH = 20
MAX_NUMBER = 10**15
"""No size of a network is larger, and no sum of sizes either."""


def round8(value: float) -> int:
    """The multiple of 8 nearest to `value`, at least 8, and never more than 10 % below it (MobileNet's rule for channel counts)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


FUNCTIONS: dict[str, tuple[Callable[..., Value], int, int]] = {
    "ceil": (math.ceil, 1, 1),
    "floor": (math.floor, 1, 1),
    "round": (round, 1, 1),
    "round8": (round8, 1, 1),
    "min": (min, 2, 9),
    "max": (max, 2, 9),
}
"""What can be called: the function, and how many arguments at least and at most."""

CONSTANTS: dict[str, Value] = {"true": True, "false": False}

_ARITHMETIC: dict[type[ast.AST], Callable[..., Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARISON: dict[type[ast.AST], Callable[..., Value]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_REFUSED: dict[type[ast.AST], str] = {
    ast.Pow: "a power is not allowed: write the product",
    ast.Attribute: "there are no attributes in an expression",
    ast.Subscript: "there are no subscripts in an expression",
    ast.Call: "only " + ", ".join(FUNCTIONS) + " can be called",
    ast.Tuple: "one value is wanted here, not several",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """One value of a spec, to be computed where its names are known."""

    text: str
    span: Span
    value: Value = None
    """What it stands for where it holds no names to look up and nothing to compute: `tree` is None then."""
    tree: ast.expr | None = None
    exact: bool = False
    """Whether a column of `tree` is a column of the file: so in a scalar of one line without escapes."""

    @property
    def word(self) -> str | None:
        """The text where it is a single name or a quoted word, else None."""
        if isinstance(self.tree, ast.Name):
            return self.tree.id
        return self.value if isinstance(self.value, str) and self.tree is None else None

    def names(self) -> list[ast.Name]:
        """The names that have to be known for it to be computed."""
        if self.tree is None:
            return []
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        return [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and id(node) not in called and node.id not in CONSTANTS
        ]

    def place(self, node: ast.AST) -> Span:
        """Where a piece of it stands in the file."""
        if not self.exact or not isinstance(node, ast.expr) or node.end_col_offset is None:
            return self.span
        encoded = self.text.encode()
        start = len(encoded[: node.col_offset].decode())
        stop = len(encoded[: node.end_col_offset].decode())
        return self.span.part(start, stop - start)


def constant(value: Value, span: Span) -> Expression:
    """An expression that is this value."""
    return Expression(str(value), span, value)


def parse(scalar: Scalar) -> Expression:
    """The expression that a scalar holds. Raises SpecError at the piece that has no place in one."""
    if not isinstance(scalar.value, str):
        _bounded(scalar.value, scalar.span)
        return Expression(scalar.text, scalar.span, scalar.value)
    text = scalar.text
    inner = scalar.inner
    if len(text) > MAX_LENGTH:
        raise SpecError("expression", f"an expression of more than {MAX_LENGTH} characters", scalar.span)
    exact = inner.source.line(inner.line)[inner.column - 1 :].startswith(text)
    span = inner.part(0, len(text)) if exact else scalar.span
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = span.part(min(max(0, (error.offset or 1) - 1), len(text) - 1), 1) if exact and text else span
        open_bracket = text.count("(") != text.count(")")
        advice = "inside [ ] and { } a comma ends a text: quote the expression" if open_bracket else ""
        raise SpecError("expression", f'cannot read "{text}" as an expression', place, advice) from None
    except (ValueError, MemoryError, RecursionError):
        raise SpecError("expression", "cannot read this as an expression", span) from None
    expression = Expression(text, span, None, tree, exact and text == text.strip())
    _check(tree, expression, 0)
    return expression


def _check(node: ast.AST, expression: Expression, depth: int) -> None:
    """Refuses what is not on the allow-list."""
    if depth > MAX_DEPTH:
        raise SpecError("expression", f"nested more than {MAX_DEPTH} levels deep", expression.span)
    if type(node) not in _EVALUATE or (isinstance(node, ast.BinOp) and type(node.op) not in _ARITHMETIC):
        kind = type(node.op) if isinstance(node, ast.BinOp) else type(node)
        raise SpecError("expression", _REFUSED.get(kind, "this has no place in an expression"), expression.place(node))
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, int | float):
            raise SpecError("expression", "only numbers have a place in an expression", expression.place(node))
        _bounded(node.value, expression.place(node))
    if isinstance(node, ast.Call):
        _check_call(node, expression)
    if isinstance(node, ast.Compare) and any(type(op) not in _COMPARISON for op in node.ops):
        raise SpecError("expression", "numbers compare with == != < <= > >=", expression.place(node))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not (isinstance(node, ast.Call) and child is node.func):
            _check(child, expression, depth + 1)


def _check_call(node: ast.Call, expression: Expression) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else None
    if name not in FUNCTIONS:
        advice = did_you_mean(name, list(FUNCTIONS)) if name else ""
        raise SpecError("expression", _REFUSED[ast.Call], expression.place(node.func), advice)
    _, least, most = FUNCTIONS[name]
    if node.keywords or any(isinstance(a, ast.Starred) for a in node.args) or not least <= len(node.args) <= most:
        wanted = "one number" if most == 1 else "two numbers or more"
        raise SpecError("expression", f"{name} takes {wanted}", expression.place(node))


def check_names(expression: Expression, known: Collection[str]) -> None:
    """Refuses a name that will not be known where the expression is computed."""
    for name in expression.names():
        if name.id not in known:
            raise unknown_name(name.id, expression.place(name), known)


def unknown_name(name: str, span: Span, known: Collection[str], functions: Collection[str] = FUNCTIONS) -> SpecError:
    """The error for a name that stands for nothing; `functions` are those that could have been meant."""
    names = sorted(known)
    advice = did_you_mean(name, [*names, *functions]) or (f"known here: {', '.join(names)}" if names else "")
    return SpecError("unknown-variable", f'unknown variable "{name}"', span, advice)


def evaluate(expression: Expression, scope: Scope) -> Value:
    """The value of the expression. Raises SpecError at the piece that cannot be computed."""
    if expression.tree is None:
        return expression.value
    return _evaluate(expression.tree, expression, scope)


def _evaluate(node: ast.AST, expression: Expression, scope: Scope) -> Value:
    return _EVALUATE[type(node)](node, expression, scope)


def _number(node: ast.AST, expression: Expression, scope: Scope) -> int | float:
    value = _evaluate(node, expression, scope)
    if not isinstance(value, int | float):
        shown = "nothing" if value is None else "a list" if isinstance(value, tuple) else f'the word "{value}"'
        raise SpecError("type", f"a number is wanted here, this is {shown}", expression.place(node))
    return value


def _bounded(value: Value, span: Span) -> Value:
    if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
        raise SpecError("number", "the number is larger than 10^15", span)
    return value


def _name(node: ast.Name, expression: Expression, scope: Scope) -> Value:
    if node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if node.id not in scope:
        raise unknown_name(node.id, expression.place(node), scope)
    return scope[node.id]


def _apply(node: ast.AST, function: Callable[..., Value], values: list[int | float], expression: Expression) -> Value:
    try:
        return _bounded(function(*values), expression.place(node))
    except ZeroDivisionError:
        raise SpecError("division", "division by zero", expression.place(node)) from None
    except (OverflowError, ValueError):
        raise SpecError("number", "the result is no number", expression.place(node)) from None


def _binary(node: ast.BinOp, expression: Expression, scope: Scope) -> Value:
    values = [_number(node.left, expression, scope), _number(node.right, expression, scope)]
    return _apply(node, _ARITHMETIC[type(node.op)], values, expression)


def _unary(node: ast.UnaryOp, expression: Expression, scope: Scope) -> Value:
    if isinstance(node.op, ast.Not):
        return not _evaluate(node.operand, expression, scope)
    return _apply(node, _ARITHMETIC[type(node.op)], [_number(node.operand, expression, scope)], expression)


def _boolean(node: ast.BoolOp, expression: Expression, scope: Scope) -> Value:
    stops_at = isinstance(node.op, ast.Or)
    value: Value = None
    for operand in node.values:
        value = _evaluate(operand, expression, scope)
        if bool(value) == stops_at:
            break
    return value


def _compare(node: ast.Compare, expression: Expression, scope: Scope) -> Value:
    left = _number(node.left, expression, scope)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _number(right_node, expression, scope)
        if not _COMPARISON[type(op)](left, right):
            return False
        left = right
    return True


def _conditional(node: ast.IfExp, expression: Expression, scope: Scope) -> Value:
    return _evaluate(node.body if _evaluate(node.test, expression, scope) else node.orelse, expression, scope)


def _call(node: ast.Call, expression: Expression, scope: Scope) -> Value:
    function = FUNCTIONS[node.func.id][0]  # type: ignore[attr-defined]  # _check_call saw that it is a name
    return _apply(node, function, [_number(argument, expression, scope) for argument in node.args], expression)


_EVALUATE: dict[type[ast.AST], Callable[[Any, Expression, Scope], Value]] = {
    ast.Constant: lambda node, expression, scope: node.value,
    ast.Name: _name,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.Call: _call,
}
