"""``spotify-engine prepare`` as a job."""

import sys

from spotify_engine.cli.prepare import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
