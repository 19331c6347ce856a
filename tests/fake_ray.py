"""Set a Ray worker up like ``fake_command``: with nothing but the fakes in it, and without torch."""

import json

import fake_command

JOB = {"runtime_env": {"worker_process_setup_hook": "fake_ray.set_up"}}
ENVIRONMENT = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(JOB), "RAY_USAGE_STATS_ENABLED": "0"}


def set_up() -> None:
    """Called by Ray in every worker; importing this module did it all."""
    assert fake_command.fakes
