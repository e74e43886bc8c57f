"""From the Kaggle files to tables: features, matching, genres and hashing."""
