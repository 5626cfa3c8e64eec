"""The peers that `hops` measures beside ours: the same work on other people's queues, each in a process of its own.

One module a peer. Each has ``fill(url, entries)``, which queues that many jobs the way its library does it, and
``work(url)``, which does them until the process is ended, in the configuration that was fastest when it was measured.
``python -m pipeline.bench.peers PEER fill|work URL [ENTRIES]`` runs one. Their libraries are the ``bench`` extra.
"""
