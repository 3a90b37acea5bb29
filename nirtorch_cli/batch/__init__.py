"""Examines many files, each in a process of its own; `reports` shows the verdicts.

`check` does all of it: `collect` finds the files, `pool` runs a function over them in processes,
`assess` is that function (read, convert, run, save, load, run again; with `round_trip` and
`portability`), `examine` joins the two, and `verdict` makes verdicts of what they found (`task`).
"""
