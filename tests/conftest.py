"""How long Hypothesis looks: ``HYPOTHESIS_PROFILE=ci python -m pytest tests/mqtt`` for a night's search.

The default is what `make test` can wait for. No profile has a deadline: the machine may be busy with other things.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), max_examples=20_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
