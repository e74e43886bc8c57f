"""``spotify-engine runs`` as a job."""

import sys

from spotify_engine.cli.runs import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
