"""The engine behind `run_sequence`: many steps of a converted module at once.

`stages` finds what of a step can run over all of time and what must go step by step;
`sequencer` runs it stage by stage. What a stage is decides how: `framewise` gives all frames to a
stateless layer, reference neurons have loops of their own (`primitives.modules.stepping`), `loop`
takes the members of a loop step by step. `compiler` makes programs of loops that `unrolling` wrote
out.
"""
