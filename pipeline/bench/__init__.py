"""What `marketswarm bench` measures, each figure beside its yardstick, in the same run.

One module a benchmark: a module that exports ``BENCHMARK`` is one, and is found by that (see registry). Beside the
command line this is the only package that imports ``consumers``: what is measured are the stages themselves.
"""
