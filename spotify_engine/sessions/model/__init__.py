"""The session models: graph, start values, graph attention networks and the session's mixture."""
