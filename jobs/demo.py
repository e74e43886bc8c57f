"""Nothing to explained recommendations: ``spotify-engine demo`` as a job."""

import sys

from spotify_engine.cli.demo import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
