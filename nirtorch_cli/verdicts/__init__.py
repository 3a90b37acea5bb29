"""What `nirtorch check` finds out about many files, each in a process of its own.

`gathering` finds the files, `workers` runs a function over them in processes, `assessing` is
that function (read, convert, run, save, load, run again; with `proving` and `portability`),
`examining` joins them, and `judging` makes verdicts of what they found (`assessment`).
"""
