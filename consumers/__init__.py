"""One module a stage. Each reads like its paragraph in the README: what it reads, what it makes, which script commits it."""
