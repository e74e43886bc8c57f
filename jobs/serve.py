"""``spotify-engine serve`` as a job."""

import sys

from spotify_engine.cli.serve import main, parser, process

__all__ = ["main", "parser", "process"]

if __name__ == "__main__":
    sys.exit(process())
