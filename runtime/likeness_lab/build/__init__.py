"""Building the pocket model and its judge: `likeness pocket`."""
