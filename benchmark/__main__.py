"""``python -m benchmark`` is ``benchmark``."""

from benchmark.cli import main

if __name__ == "__main__":  # a worker process imports this module too, and must not run it
    main()
