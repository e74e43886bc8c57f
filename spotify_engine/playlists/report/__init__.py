"""Tables and pictures of playlist completion."""
