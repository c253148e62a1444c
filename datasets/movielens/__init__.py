"""MovieLens 100K and 1M: download, files, datasets."""
