"""One Chromium for the session; where there is none, the tests say so and are skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from chromium import Chromium, programs


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if programs() is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
