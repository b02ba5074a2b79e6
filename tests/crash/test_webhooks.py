"""
The receiver goes, hangs and comes back, the platform is killed in the middle of requests: all is told, and each event
has one id (D3, A11; reliability.md 1.5, point 16). Longer: python -m shared.testing.webhook_campaign outage
"""

from pathlib import Path

import pytest

from shared.testing.webhook_campaign import outage


@pytest.mark.timeout(600)
def test_an_outage_and_a_kill_in_the_middle_of_requests_lose_and_rename_nothing(tmp_path: Path) -> None:
    result = outage(tmp_path, down=6, rate=10)
    assert result.kept, result
    assert result.hanging_at_the_kill > 0, "nothing was under way when it was killed"
