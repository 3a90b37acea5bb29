"""The engine behind `run_sequence`: many steps of a converted module at once.

`condensing` finds what of a step can run over all of time and what must go step by step;
`sequencing` runs it stage by stage. What a stage is decides how: `framewise` gives all frames to a
stateless layer, reference neurons have loops of their own (`neurons.stepping`), `looping` takes
the members of a loop step by step. `compiling` makes programs of loops that `unrolling` wrote out.
`watching` says what of a run is to be recorded.
"""
