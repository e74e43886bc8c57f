"""``spotify-engine train`` as a job."""

import sys

from spotify_engine.cli.train_playlists import main, parser, training_parser

__all__ = ["main", "parser", "training_parser"]

if __name__ == "__main__":
    sys.exit(main())
