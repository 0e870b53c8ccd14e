"""What was measured of the agents: by CloudWatch, or by the agents where there is none of it."""

from ci.aws.metrics.cloudwatch import CloudWatch
from ci.aws.metrics.model import Figures, Metrics, Source
from ci.aws.metrics.tasks import TaskMetrics

__all__ = ["CloudWatch", "Figures", "Metrics", "Source", "TaskMetrics"]
