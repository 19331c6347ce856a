"""The command line: commands parse and print, the package does the work."""

from benchmark.cli.base import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line of ``benchmark``."""
    cli(prog_name="benchmark")
