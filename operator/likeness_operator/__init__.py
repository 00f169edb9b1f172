"""Watches Personalizations, decides, creates Jobs, writes status."""
