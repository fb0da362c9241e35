"""The compute graph of an architecture, as its data file tells it: a few lines that read like the model.

Each line is an assignment, ``h = rms_norm(x, 'input_layernorm', eps=rms_norm_eps)``: calls of the operators in
`OPERATORS` on values, quoted names of weights, and keyword arguments, which are expressions over the settings and
`layer`. ``+`` and ``*`` join two values. `Graph.nodes` gives the same as a flat list in order of execution, for one
model, with names and numbers filled in; the runner executes that list, a graph writer translates it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.errors import PluginError


@dataclass(frozen=True)
class Operator:
    """What an operator takes.

    Attributes:
        values: how many values, all of shape (tokens, something) but for token ids.
        weights: roles of its weights; each is a module whose `.weight` (and `.bias` where there is one) it uses, or a
            tensor where the operator says so.
        may: roles of weights that may follow these.
        needs: keyword arguments that must be given.
        takes: keyword arguments that may be given, with the number or expression that they are otherwise.
        results: how many values it gives.
    """

    values: int
    weights: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    takes: Mapping[str, Any] = field(default_factory=dict)
    results: int = 1
    may: tuple[str, ...] = ()


OPERATORS: Mapping[str, Operator] = {
    # rows of the table; ids (tokens,) -> (tokens, width)
    "embed": Operator(1, ("table",)),
    # x @ weight.T + bias; `tied` names the module to use where the model has no such weight; `transposed` says
    # that the weight is (in, out)
    "linear": Operator(1, ("matrix",), takes={"tied": None, "transposed": False}),
    # x / sqrt(mean(x**2) + eps) * (weight + plus), over all of a row or over each of `heads` equal pieces of it
    "rms_norm": Operator(1, ("norm",), ("eps",), {"plus": 0, "heads": 1}),
    # (x - mean) / sqrt(variance + eps) * weight + bias
    "layer_norm": Operator(1, ("norm",), ("eps",)),
    # rotates the first `dim` numbers of each head by the token's position; row j turns with row j + dim/2
    "rope": Operator(1, (), ("heads", "dim", "theta"), {"type": "'default'"}),
    # causal softmax(scale * q @ k.T) @ v; `window`: a token sees that many, itself included (0: all);
    # `softcap` c: scores become c * tanh(scores / c); `sinks`, a tensor (heads,): a further score in each head's
    # softmax that has no value
    "attention": Operator(3, (), ("heads", "kv_heads", "scale"), {"window": 0, "softcap": 0}, may=("sinks",)),
    # columns cut into pieces of these sizes
    "split": Operator(1, (), ("sizes",), results=-1),
    # sum over the `top` experts that the router's softmax likes best, weighted with it (`normalize`: summing to 1),
    # of down(act(gate(x)) * up(x))
    "experts": Operator(
        1, ("router", "gate", "up", "down"), ("count", "top"), {"normalize": True, "activation": "'silu'"}
    ),
    # sum over the `top` experts that the router scores highest, weighted with the softmax of these scores, of
    # down(act(gate_up(x))). Tensors of all experts: gate_up (experts, 2 n, in), rows of gate and up in turns, and down
    # (experts, out, n), with biases in NAME_bias (experts, rows). act of a gate g and an up u, c the smaller of g and
    # `limit`: c / (1 + exp(-`alpha` c)) * (u, kept within -`limit` and `limit`, + 1)
    "fused_experts": Operator(1, ("router", "gate_up", "down"), ("count", "top", "alpha", "limit")),
    "silu": Operator(1),
    "gelu_tanh": Operator(1),
    "gelu": Operator(1),
    # cap * tanh(x / cap); 0 leaves x as it is
    "softcap": Operator(1, (), ("cap",)),
    # x * by
    "scale": Operator(1, (), ("by",)),
    "add": Operator(2),
    "multiply": Operator(2),
}
"""Every operator that a graph may use."""

INPUTS = ("ids", "positions")
"""Values that are there at the start: token ids and their positions, int32 (tokens,)."""
OUTPUT = "logits"
"""The value that the graph must end with."""
_JOINS: Mapping[type[ast.operator], str] = {ast.Add: "add", ast.Mult: "multiply"}


def expert_name(name: str, expert: int) -> str:
    """What one of the matrices of a tensor of all experts is called."""
    return f"{name}[{expert}]"


@dataclass(frozen=True)
class Node:
    """One operator of a graph, ready to run.

    Attributes:
        op: its name in `OPERATORS`.
        inputs: names of values.
        outputs: names of what it gives.
        weights: full canonical module names, without `.weight`; `{expert}` is left in.
        arguments: keyword arguments, evaluated.
        layer: which layer it belongs to, -1 before the first and `layers` behind the last.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    arguments: Mapping[str, Any]
    layer: int


@dataclass(frozen=True)
class _Line:
    """A node before settings are known: arguments are expressions still."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """The graph of a family.

    Attributes:
        prefix: what stands before the names of weights in `layer`, with `{layer}`.
        start, layer, end: what runs once, for every layer, and once more. The value `x` goes from one to the next;
            after `start` it is the embedding, after each layer the layer's output.
        context: expression for the number of tokens that the model can see.
    """

    prefix: str
    start: Sequence[_Line]
    layer: Sequence[_Line]
    end: Sequence[_Line]
    context: str

    def nodes(self, evaluate: Any, layers: int) -> Iterator[Node]:
        """All nodes for a model of so many layers.

        Args:
            evaluate: gives the value of an expression, ``evaluate(text, layer=3)``.

        Raises:
            ConfigError: an argument cannot be calculated from the settings.
        """
        for number, lines in ((-1, self.start), *((i, self.layer) for i in range(layers)), (layers, self.end)):
            inside = 0 <= number < layers
            prefix = self.prefix.replace("{layer}", str(number)) if inside else ""
            for line in lines:
                yield Node(
                    line.op,
                    line.inputs,
                    line.outputs,
                    tuple(prefix + name for name in line.weights),
                    {key: evaluate(text, layer=number) for key, text in line.arguments.items()},
                    number,
                )


def parse(data: Mapping[str, Any], family: str) -> Graph:
    """The graph of an architecture file's `[graph]`.

    Raises:
        PluginError: a line is not an assignment of known operators, or uses a value that is not there.
    """
    reader = _Reader(family)
    known = set(INPUTS)
    start = reader.lines(data["start"], known)
    layer = reader.lines(data["layer"], set(known))
    end = reader.lines(data["end"], known)
    if "x" not in known or OUTPUT not in known:
        raise PluginError(f"architecture file of {family}: the graph gives no x, or no {OUTPUT}")
    return Graph(data.get("prefix", ""), start, layer, end, data["context"])


class _Reader:
    """Reads lines, counting unnamed values as it goes."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.made = 0

    def lines(self, texts: Sequence[str], known: set[str]) -> list[_Line]:
        """The lines, flattened; adds to `known` what they give."""
        out: list[_Line] = []
        for text in texts:
            try:
                (statement,) = ast.parse(text).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                raise self._refuse(text, "is not an assignment") from None
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    names: tuple[str, ...] = (name,)
                case ast.Assign(targets=[ast.Tuple(elts=elts)], value=value):
                    names = tuple(ast.unparse(item) for item in elts)
                case _:
                    raise self._refuse(text, "is not an assignment")
            self._value(value, names, known, out, text)
            known.update(names)
        return out

    def _value(
        self, node: ast.expr, names: tuple[str, ...] | None, known: set[str], out: list[_Line], text: str
    ) -> str:
        """The name of a value; what must run before it is there goes to `out`."""
        match node:
            case ast.Name(id=name) if names is None:
                if name not in known:
                    raise self._refuse(text, f"uses {name}, which is not there")
                return name
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _JOINS:
                inputs = tuple(self._value(side, None, known, out, text) for side in (left, right))
                return self._emit(_JOINS[type(op)], inputs, names, (), {}, out, text)
            case ast.Call(func=ast.Name(id=op_name), args=args, keywords=keywords) if op_name in OPERATORS:
                values = [arg for arg in args if not isinstance(arg, ast.Constant)]
                weights = tuple(arg.value for arg in args if isinstance(arg, ast.Constant))
                inputs = tuple(self._value(value, None, known, out, text) for value in values)
                arguments = {str(word.arg): ast.unparse(word.value) for word in keywords}
                return self._emit(op_name, inputs, names, weights, arguments, out, text)
            case _:
                raise self._refuse(text, f"{ast.unparse(node)} is no operator on values")

    def _emit(
        self,
        op: str,
        inputs: tuple[str, ...],
        names: tuple[str, ...] | None,
        weights: tuple[Any, ...],
        arguments: Mapping[str, str],
        out: list[_Line],
        text: str,
    ) -> str:
        rule = OPERATORS[op]
        if names is None:
            self.made += 1
            names = (f"%{self.made}",)
        wrong = (
            len(inputs) != rule.values
            or not len(rule.weights) <= len(weights) <= len(rule.weights) + len(rule.may)
            or not all(isinstance(name, str) for name in weights)
            or (rule.results != -1 and len(names) != rule.results)
            or not set(rule.needs) <= set(arguments)
            or not set(arguments) <= {*rule.needs, *rule.takes}
        )
        if wrong:
            raise self._refuse(text, f"{op} takes {rule.values} values, weights {rule.weights}, arguments {rule.needs}")
        out.append(_Line(op, inputs, names, weights, {**rule.takes, **arguments}))
        return names[0]

    def _refuse(self, text: str, why: str) -> PluginError:
        return PluginError(f"architecture file of {self.family}: graph line {text!r} {why}")
