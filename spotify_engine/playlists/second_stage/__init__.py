"""The second stage: attention over the edges from a playlist's tracks to candidates."""
