"""``python -m spotify_engine``: the command ``spotify-engine``."""

import sys

from spotify_engine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
