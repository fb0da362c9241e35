"""Tiny arithmetic for architecture files: ``num_attention_heads * head_dim``."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

from hub.errors import ConfigError, printable

Number = int | float | bool | str | None

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Div: lambda a, b: a / b,
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: _power(a, b),
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _power(base: float, exponent: float) -> float:
    # Integer powers can be as large as one likes; floats end with OverflowError.
    return math.pow(base, exponent)


def evaluate(text: str | float, names: Mapping[str, Any]) -> Any:
    """The value of an expression of numbers, names (dots allowed), ``+ - * / // % **`` (``**`` in floats),
    comparisons, ``in``, ``and``, ``or`` (the first that is true, as in Python), ``not``, ``a if c else b``, items of
    a list (``layer_types[layer]``), ``index(list, item)`` (where the item stands first, the list's length where it does
    not), lists and quoted words. Names that are missing are None.

    Raises:
        ConfigError: it is anything else, divides by zero, or calculates with what is missing.
    """
    if not isinstance(text, str):
        return text
    try:
        return _value(ast.parse(text, mode="eval").body, names)
    except ZeroDivisionError:
        raise ConfigError(f"{text}: division by zero") from None
    except (TypeError, SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, IndexError):
        raise ConfigError(f"cannot calculate {printable(text)!r} from the configuration") from None


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name() | ast.Attribute():
            return names.get(ast.unparse(node))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_value(left, names), _value(right, names))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, names) else orelse, names)
        case ast.List(elts=elts) | ast.Tuple(elts=elts):
            return [_value(item, names) for item in elts]
        case ast.Subscript(value=ast.Name() | ast.Attribute() as of, slice=index):
            items = _value(of, names)
            if not isinstance(items, list | tuple):
                raise TypeError
            return items[_value(index, names)]
        case ast.Call(func=ast.Name(id="index"), args=[of, item], keywords=[]):
            items, wanted = _value(of, names), _value(item, names)
            if not isinstance(items, list | tuple):
                raise TypeError
            return items.index(wanted) if wanted in items else len(items)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, names) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return next((v for v in (_value(value, names) for value in values) if v), False)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case _:
            raise SyntaxError(ast.unparse(node))
