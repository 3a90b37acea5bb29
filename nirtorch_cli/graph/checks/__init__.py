"""The rules: one small function each, from a graph or a node to findings.

Nothing is changed and nothing is raised here. `structure` looks at nodes and edges,
`parameters` at the numbers in a node, `time` at both together with the length of a step;
the rules about shapes are in `shapes`, which finds them on its way. What every code means is
in `rules.md`.
"""
