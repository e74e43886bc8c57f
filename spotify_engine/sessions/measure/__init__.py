"""Measuring of the next song: leaderboard, rankings, splits, cold start and faithfulness."""
