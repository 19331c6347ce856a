"""Every module of this package registers its tasks when the package is imported: a new task is one new file."""

from benchmark.data import DATASETS
from benchmark.metrics import METRICS
from benchmark.plugins import import_modules
from benchmark.tasks.base import TASKS, Task

__all__ = ["DATASETS", "METRICS", "TASKS", "Task"]

import_modules(__name__, __path__, TASKS)
