"""The playlist network: graph, start values, attention layers and encodings."""
