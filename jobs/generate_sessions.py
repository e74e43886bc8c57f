"""``spotify-engine generate sessions`` as a job."""

import sys

from spotify_engine.cli.generate_sessions import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
