"""Measuring of both recommenders: rankings, splits, faithfulness, and more than accuracy."""
