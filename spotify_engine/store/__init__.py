"""Everything that is kept: files, bundles, the registry of versions, caches and events."""
