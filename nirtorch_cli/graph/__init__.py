"""Repairs and checks a `NIRGraph`, and finds its shapes, execution order and dt.

In: a graph as it was read. Out: the repaired graph with findings, the shape at every edge, the
schedule of one step, and dt.

Always: torch is not loaded; linear in nodes and edges; the result depends on the content of the
graph, never on the order in which a file lists it.
"""
