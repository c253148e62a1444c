"""Encoders: one feature column to vectors."""
