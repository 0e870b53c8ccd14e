from hypothesis import HealthCheck, settings

# Many days, other ones at each run (CONTRIBUTING.md).
settings.register_profile(
    "badday",
    max_examples=10,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
