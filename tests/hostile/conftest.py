"""Makes the helpers beside the tests importable in every import mode."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # models made for all tests
sys.path.insert(0, str(Path(__file__).parent))
