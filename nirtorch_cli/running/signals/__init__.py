"""The inputs and outputs of a run, as NumPy arrays, files and generators.

`inputs` makes a signal (T, B, *shape) for every Input of a model from what a user asked for;
`signal` yields it part by part. `spool` keeps what is recorded, `outputs` writes it. They use:
`npz` for .npy and .npz, `csv` for .csv, `nirdata` and `nirdata_writing` for NIR data, of which
`binning` puts events on a grid; `events` for those of any other file; `generators`, which make
inputs from a few words; and `axes`, which brings arrays into shape or says why they do not fit.

T is the number of time steps, B of batch rows. Nothing here imports torch.
"""
