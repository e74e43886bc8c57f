"""``spotify-engine recommend`` as a job."""

import sys

from spotify_engine.cli.recommend import main, parser

__all__ = ["main", "parser"]

if __name__ == "__main__":
    sys.exit(main())
