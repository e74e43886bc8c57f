"""``spotify-engine validate`` as a job."""

import sys

from spotify_engine.cli.validate import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
