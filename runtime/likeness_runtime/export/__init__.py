"""What is published for one subject, in the formats that other tools read."""
