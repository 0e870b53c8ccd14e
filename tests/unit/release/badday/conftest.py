from hypothesis import HealthCheck, Phase, settings

# Many days, other ones at each run (CONTRIBUTING.md).
settings.register_profile(
    "badday",
    max_examples=300,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # a day is long: shrinking takes minutes
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
