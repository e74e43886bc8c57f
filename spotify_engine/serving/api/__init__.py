"""The HTTP API: requests, answers, problems, the guard before it, and metrics."""
