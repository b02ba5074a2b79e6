"""
Hypothesis profiles: ``ci`` (the default) is bounded, ``campaign`` searches for as long as one likes to wait:

    HYPOTHESIS_PROFILE=campaign HYPOTHESIS_EXAMPLES=20000 scripts/test tests/properties
"""

import os

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, suppress_health_check=SLOW)
settings.register_profile(
    "campaign",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "5000")),  # noqa: TID251  a test's own settings
    suppress_health_check=SLOW,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))  # noqa: TID251
