"""What the compute graph says about tensors: which are norms, which rows are rotated, which matrix gates which.

A mistake such as "gate and up swapped" is about what a tensor does, not what it is called; so roles are read off the
graph of the architecture, and no family is named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hub.architecture import Configured
from hub.graph import Node

_ACTIVATIONS = ("silu", "gelu", "gelu_tanh")


@dataclass(frozen=True)
class Rotated:
    """Rows of a module that rotary positions turn.

    Attributes:
        start, stop: its rows.
        heads: how many heads they are.
        what: "q" or "k".
    """

    start: int
    stop: int
    heads: int
    what: str


@dataclass
class Roles:
    """Modules by what they do; names are canonical, without `.weight` or `.bias`.

    Attributes:
        norms: modules that scale a normalised value.
        rotated: module -> which of its rows are queries and keys with rotary positions.
        partner: gate -> up and up -> gate.
        fused: modules whose halves are gate and up -> rows of each half.
        routers: modules that choose experts.
        experts: module of an expert -> those of all experts in its place, in order.
        head: the output matrix, and the module that stands in for it where there is none.
        table: the embedding.
    """

    norms: set[str] = field(default_factory=set)
    rotated: dict[str, list[Rotated]] = field(default_factory=dict)
    partner: dict[str, str] = field(default_factory=dict)
    fused: dict[str, int] = field(default_factory=dict)
    routers: set[str] = field(default_factory=set)
    experts: dict[str, Sequence[str]] = field(default_factory=dict)
    head: tuple[str, str | None] | None = None
    table: str | None = None

    @property
    def by_token(self) -> set[str]:
        """Modules with a row for every token."""
        return {name for name in (self.table, *(self.head or ())) if name}


@dataclass(frozen=True)
class _Origin:
    """A value as columns of a linear module."""

    module: str
    start: int
    stop: int | None


def roles(configured: Configured | None) -> Roles:
    """The roles of a model's modules; none where the family has no graph."""
    out = Roles()
    graph = configured.architecture.graph if configured else None
    if configured is None or graph is None:
        return out
    origins: dict[str, _Origin] = {}
    activated: dict[str, _Origin] = {}
    turned: dict[str, tuple[_Origin, int]] = {}
    for node in graph.nodes(configured.evaluate, configured.layers):
        _follow(node, origins, activated, turned, out)
    return out


def _follow(
    node: Node,
    origins: dict[str, _Origin],
    activated: dict[str, _Origin],
    turned: dict[str, tuple[_Origin, int]],
    out: Roles,
) -> None:
    """Take in one node; values keep the linear module that they come from while nothing mixes their columns."""
    known = [origins.get(name) for name in node.inputs]
    active = [activated.get(name) for name in node.inputs]
    rotated = [turned.get(name) for name in node.inputs]
    for table in (origins, activated, turned):
        for name in node.outputs:
            table.pop(name, None)
    first = known[0] if known else None
    match node.op:
        case "embed":
            out.table = node.weights[0]
        case "linear":
            origins[node.outputs[0]] = _Origin(node.weights[0], 0, None)
            out.head = node.weights[0], node.arguments["tied"]
        case "rms_norm" | "layer_norm":
            out.norms.add(node.weights[0])
            if first is not None:
                origins[node.outputs[0]] = first
        case "split" if first is not None:
            start = first.start
            for name, size in zip(node.outputs, node.arguments["sizes"], strict=True):
                origins[name] = _Origin(first.module, start, start + int(size))
                start += int(size)
        case "rope" if first is not None:
            turned[node.outputs[0]] = first, int(node.arguments["heads"])
        case "attention":
            for what, found in zip("qk", rotated, strict=False):
                if found is not None:
                    origin, heads = found
                    rows = Rotated(origin.start, -1 if origin.stop is None else origin.stop, heads, what)
                    out.rotated.setdefault(origin.module, []).append(rows)
        case op if op in _ACTIVATIONS and first is not None:
            activated[node.outputs[0]] = first
        case "multiply":
            _gated(active, known, out)
        case "experts":
            _experts(node, out)
        case "fused_experts":
            out.routers.add(node.weights[0])


def _gated(active: Sequence[_Origin | None], known: Sequence[_Origin | None], out: Roles) -> None:
    for gate, up in ((active[0], known[1]), (active[1], known[0])):
        if gate is None or up is None:
            continue
        if gate.module != up.module:
            out.partner[gate.module], out.partner[up.module] = up.module, gate.module
        elif gate.stop is not None:
            out.fused[gate.module] = gate.stop - gate.start


def _experts(node: Node, out: Roles) -> None:
    count = int(node.arguments["count"])
    out.routers.add(node.weights[0])
    for name in node.weights[1:]:
        each = [name.replace("{expert}", str(i)) for i in range(count)]
        out.experts.update(dict.fromkeys(each, each))
    for i in range(count):
        gate, up = (name.replace("{expert}", str(i)) for name in node.weights[1:3])
        out.partner[gate], out.partner[up] = up, gate
