"""docs/system-document.md has an answer to every item of the original document."""

import re

import pytest

from tests.unit.repository.conftest import ROOT

TEXT = (ROOT / "docs" / "system-document.md").read_text()
ROWS = dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", TEXT, re.MULTILINE))
ITEMS = """
Development: pushes to|Staging: pushes to|Production: GitHub releases
Black|Flake8|MyPy|Bandit|pytest|Docker image building|Multi-stage|Push to Amazon ECR|tagging
Environment-specific deployments|ECS service updates|Health checks and validation
Smoke tests|Integration tests|Production validation
Automatic rollback|Service restoration|Notification of rollback
AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|ECR_REGISTRY|PROJECT_NAME|AWS_REGION|PYTHON_VERSION
smoke-tests.py --environment development|smoke-results.json|cluster existence|Service running
CloudWatch logs configuration|Bedrock|Agent health endpoints
integration-tests.py --environment staging|integration-results.json|Supervisor agent coordination
inter-agent communication|human approval|security and access control
production-validation.py --environment production|validation-results.json|encryption at rest
high availability|disaster recovery|network security|Performance metrics and thresholds
Development deployment|Staging deployment|Production deployment|detects failure
Identifies the environment|previous task definition|stabilize|rollback success
ENVIRONMENT=production ./scripts/deploy-to-ecs.sh rollback
workflow status|artifacts|Coverage reports|Security scan results|ECS service health
CloudWatch metrics|Application logs|Failed deployments|Performance degradation
80% test coverage|GitHub Secrets|least privilege|encrypted at rest|scanning
Infrastructure as Code|Blue-green|dependency conflicts|credentials and permissions
Review CloudWatch logs for errors|service availability|environment configuration
deploy-to-ecs.sh status|aws logs tail|aws ecs describe-services
Deployment success rate|time to deployment|rollback frequency|Test pass rate
Code coverage percentage|Performance benchmarks|Error rates
Canary|A/B testing|Performance regression|compliance checks|Multi-region
Advanced monitoring|Chaos|Check GitHub Actions logs|Contact the development team
"""


@pytest.mark.parametrize("item", re.split(r"[|\n]", ITEMS.strip()))
def test_an_item_of_the_original_document_is_answered(item: str) -> None:
    answers = [answer for asked, answer in ROWS.items() if item in asked]
    assert answers
    assert all(len(answer) > 10 for answer in answers)
