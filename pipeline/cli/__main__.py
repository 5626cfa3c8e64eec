"""`python -m pipeline.cli`, for where the `marketswarm` script is not on PATH."""

from pipeline.cli import main

main(prog_name="marketswarm")
