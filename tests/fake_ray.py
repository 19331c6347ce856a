"""Imported by Ray workers alone: nothing but the fakes in them, and no torch, as in ``fake_command``."""

import fake_command


def set_up() -> None:
    """Called by Ray when a worker starts; the import has done it all."""
    assert fake_command.fakes
