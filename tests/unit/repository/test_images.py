"""What is in the agents' images and what agents use."""

import re
from pathlib import Path

from ci.stages.build import AWS_SERVICES

ROOT = Path(__file__).parents[3]


def test_the_images_have_the_models_of_the_services_that_agents_use() -> None:
    code = "".join(path.read_text() for path in (ROOT / "agents").rglob("*.py"))
    used = set(re.findall(r'client\(\s*"([a-z0-9-]+)"', code))
    assert {"bedrock-runtime", "dynamodb", "secretsmanager"} <= used
    assert used <= set(AWS_SERVICES)
