"""Where bytes lie: object stores, local folders, model folders."""
