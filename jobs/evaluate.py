"""``spotify-engine evaluate`` as a job."""

import sys

from spotify_engine.cli.evaluate import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
