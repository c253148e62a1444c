"""Turns a star schema and a checked config into a DSSM, its metrics and saved runs."""
