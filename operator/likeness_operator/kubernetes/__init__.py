"""What we say to Kubernetes, and what it says to us, read into facts. Knows none of our own kinds."""
