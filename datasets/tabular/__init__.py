"""Your own tables: CSV, Parquet and RecBole files.

All problems of the data are reported at once: functions append messages to their argument `problems`, and return None
for what they could not read.
"""
