"""One module a stage; each begins with what it reads, what it makes, and which script commits it."""
