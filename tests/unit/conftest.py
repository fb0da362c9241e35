"""Helpers of the unit tests stand in tests/made_models.py, importable in every import mode."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent.parent))

# The machine may be slow and shared: a deadline would test that and not the code.
settings.register_profile("unit", deadline=None, max_examples=60)
settings.load_profile("unit")
