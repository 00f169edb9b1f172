"""Terminating Personalizations and batches: the rules, and the Job that erases what was published."""
