"""Any window again: read, kept in a file, fed through the stages, verified version by version, compared."""
