"""All that runs on Ray: data, training, tuning, pipelines and serving."""
