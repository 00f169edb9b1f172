"""Terminating Personalizations: the rules, and the Job that erases what was published."""
