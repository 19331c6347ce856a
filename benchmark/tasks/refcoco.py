"""Tasks on ``refcoco``, ``refcoco_plus`` and ``refcocog``."""

from benchmark.tasks.families import declare

TASKS = (*declare("refcoco"), *declare("refcoco_plus"), *declare("refcocog"))
