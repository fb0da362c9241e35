"""A report as one self-contained page: nothing is loaded, whatever stands in a model file is text.

`page` is a pure function of report data; `schemas/report.schema.json`, `verify.schema.json` and `diff.schema.json`
describe what it takes. docs/reports.md tells what the plots show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def page(data: Mapping[str, Any]) -> str:
    """The HTML page of a report of a conversion or verification, or of a difference; members may be missing."""
    if "a" in data and "b" in data:
        from hub.page.difference import difference

        return difference(data)
    from hub.page.conversion import conversion

    return conversion(data)
