"""What a model's graph does with each tensor, which decides how it can lie in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from hub.api import Configured


@dataclass(frozen=True)
class Uses:
    """Canonical names of tensors by what they are used for; all empty for a family whose graph is not known.

    Attributes:
        matrices: multiplied with.
        turned: of these those that are (in, out).
        tables: looked up by token.
        stacks: matrices of all experts in one tensor, (experts, out, in).
        tied: (output matrix that the model lacks, table in its place).
    """

    matrices: frozenset[str] = frozenset()
    turned: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    stacks: frozenset[str] = frozenset()
    tied: tuple[str, str] | None = None

    @cached_property
    def columns(self) -> frozenset[str]:
        """Matrices that are (out, in)."""
        return self.matrices - self.turned


@dataclass
class _Found:
    matrices: set[str] = field(default_factory=set)
    turned: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    stacks: set[str] = field(default_factory=set)
    tied: tuple[str, str] | None = None


def uses(configured: Configured | None, names: Collection[str]) -> Uses:
    """What the tensors of these names are used for.

    Routers of experts are not among the matrices: who is asked decides by small differences.
    """
    found = _Found()
    if configured is None or configured.architecture.graph is None:
        return Uses()
    for node in configured.architecture.graph.nodes(configured.evaluate, configured.layers):
        if node.op == "embed" and node.inputs[0] == "ids":
            found.tables.add(f"{node.weights[0]}.weight")
        elif node.op == "linear" and node.arguments["transposed"]:
            found.turned.add(f"{node.weights[0]}.weight")
        elif node.op == "linear":
            name, tied = f"{node.weights[0]}.weight", node.arguments["tied"]
            if tied and name not in names:
                found.tied = name, f"{tied}.weight"
                continue
            found.matrices.add(name)
        elif node.op == "experts":
            for module in node.weights[1:4]:
                found.matrices |= {f"{name}.weight" for name in _each(module, configured.experts)}
        elif node.op == "fused_experts":
            found.stacks |= set(node.weights[1:3])
    return Uses(
        frozenset(found.matrices | found.turned),
        frozenset(found.turned),
        frozenset(found.tables),
        frozenset(found.stacks),
        found.tied,
    )


def _each(module: str, experts: int) -> Iterator[str]:
    return (module.replace("{expert}", str(expert)) for expert in range(experts))
