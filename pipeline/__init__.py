"""What every stage shares. Nothing in this package knows which stage runs it."""
