"""Settings of all tests: hypothesis judges no speed, for machines are shared and noisy."""

from hypothesis import HealthCheck, settings

settings.register_profile("noisy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy")
