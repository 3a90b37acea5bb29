"""What goes into a run and what comes out of it, as NumPy arrays, files and generators.

`inputs` is the door in: what a user asked to feed, to a signal (T, B, *shape) for every Input
of a model, of which `signal` hands out one part after the other. `outputs` is the door out,
`state_file` keeps a state between two runs. Behind them: `npz` reads and writes .npy and
.npz, `csv` .csv, `nirdata` NIR data files, which `binning` puts on a grid and `nirdata_writing`
writes; `generators` makes inputs out of a few words; `axes` makes every array fit or says why it
does not.

T is the number of time steps, B of batch rows. Nothing here imports torch.
"""
