"""Reading of large CSV files: record boundaries, chunks, kinds of files and rejected rows."""
