#!/bin/sh
# How the epochs fare: marketswarm epoch inspect, by the name operators look for.
exec marketswarm epoch inspect "$@"
