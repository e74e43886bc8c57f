"""Answering over HTTP: engines, versions, search and the application. Knows no Ray."""
