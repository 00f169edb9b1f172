"""Live Personalizations: what is observed, the rules, the status, the Job that tunes."""
