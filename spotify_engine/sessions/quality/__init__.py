"""Quality of listening data: statistics, checks and plots."""
