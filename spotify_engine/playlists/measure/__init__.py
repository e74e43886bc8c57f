"""Measuring of playlist completion: leaderboard, challenge groups and cold start."""
