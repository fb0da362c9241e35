"""Checks in other programs: an invented one in every run, real ones where they are installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # models made for all tests
sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; the child process finds them, too
