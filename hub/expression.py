"""Tiny arithmetic for architecture files: ``num_attention_heads * head_dim``."""

from __future__ import annotations

import ast
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
}


def evaluate(text: str | float, names: Mapping[str, Any]) -> Any:
    """The value of an expression of numbers, names (dots allowed), ``+ - * / //``, ``==``, ``!=``, ``and``,
    ``or`` (the first that is true, as in Python), ``not`` and quoted words. Names that are missing are None.

    Raises:
        ConfigError: it is anything else, divides by zero, or calculates with what is missing.
    """
    if not isinstance(text, str):
        return text
    try:
        return _value(ast.parse(text, mode="eval").body, names)
    except ZeroDivisionError:
        raise ConfigError(f"{text}: division by zero") from None
    except (TypeError, SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        raise ConfigError(f"cannot calculate {printable(text)!r} from the configuration") from None


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name() | ast.Attribute():
            return names.get(ast.unparse(node))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _value(left, names) == _value(right, names)
        case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[right]):
            return _value(left, names) != _value(right, names)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, names) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return next((v for v in (_value(value, names) for value in values) if v), False)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, names)
        case _:
            raise SyntaxError(ast.unparse(node))
