"""``spotify-engine generate`` as a job."""

import sys

from spotify_engine.cli.generate_playlists import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
