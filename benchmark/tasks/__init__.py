"""Every module of this package registers its tasks when the package is imported: a new task is one new file."""

from importlib import import_module
from pkgutil import iter_modules

from benchmark.data import DATASETS
from benchmark.metrics import METRICS
from benchmark.tasks.base import TASKS, Task

__all__ = ["DATASETS", "METRICS", "TASKS", "Task"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
