"""Reading and generating data with Ray."""
