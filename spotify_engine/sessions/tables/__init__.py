"""From listening CSV files to tables: plays, metadata, columns and edges."""
