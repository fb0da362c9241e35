"""All transforms, by the name that architecture files use."""

from __future__ import annotations

from collections.abc import Mapping

from hub.shares import Every, EveryColumn, Rows
from hub.transforms import Add, Concat, InterleaveHeads, Join, Stack, Step, Transpose

STEPS: Mapping[str, type[Step] | type[Join]] = {
    step.name: step for step in (InterleaveHeads, Transpose, Add, Concat, Stack, Rows, Every, EveryColumn)
}
