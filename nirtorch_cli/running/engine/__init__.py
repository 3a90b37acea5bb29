"""The engine behind `run_sequence`: many steps of a converted module at once.

`stages` finds which parts of a step can run over all of time and which must run step by step;
`sequencer` runs these stages one after the other, each in its own way: `framewise` gives all frames
to a stateless layer at once, reference neurons have their own loop over time
(`primitives.modules.stepping`), and `loop` runs the members of a loop together, step by step.
`compiler` compiles loops, which `unrolling` writes out as one graph.
"""
