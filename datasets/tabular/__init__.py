"""A person's own tables: CSV, Parquet and RecBole files."""
