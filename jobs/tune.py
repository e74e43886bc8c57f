"""``spotify-engine tune`` as a job."""

import sys

from spotify_engine.cli.tune import main, parser

__all__ = ["main", "parser"]

if __name__ == "__main__":
    sys.exit(main())
