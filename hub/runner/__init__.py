"""Runs models: what a file stores, executed as the architecture's graph says, on packed weights where they lie.

executor   the graph, node by node: start here
weights    canonical weights as matrices that multiply themselves with activations
positions  rotary frequencies
threads    work in pieces
slices     logits of some tokens at a time
"""

from __future__ import annotations

from hub.runner.executor import Mode, Runner, why_not

__all__ = ["Mode", "Runner", "why_not"]
