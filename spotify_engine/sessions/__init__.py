"""Next-song recommendation: tables, models, training, recommending, measuring and quality."""
