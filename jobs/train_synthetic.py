"""``spotify-engine train sessions`` as a job."""

import sys

from spotify_engine.cli.train_sessions import main, parser

__all__ = ["main", "parser"]

if __name__ == "__main__":
    sys.exit(main())
