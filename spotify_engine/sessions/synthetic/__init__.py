"""Listening sessions of a world that is known exactly, so that a model can be held against it.

The next song follows an explicit distribution (``process.py``) of the user's taste and favourites,
the hour of the week, and the songs of the session so far in their order.
"""

from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.files import write_block, write_folder, write_sessions
from spotify_engine.sessions.synthetic.oracle import (
    ORACLE_FILE,
    Oracle,
    OracleScope,
    find_plays,
    load_oracle,
)

__all__ = [
    "ORACLE_FILE",
    "Oracle",
    "OracleScope",
    "SyntheticConfig",
    "find_plays",
    "load_oracle",
    "write_block",
    "write_folder",
    "write_sessions",
]
