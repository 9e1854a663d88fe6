"""Datasets → Split records; decoded images; captions → tokens; sampler; batched augmentation on the device.

Everything up to a loaded dataset (`records`, `annotations`, `layouts`, `survey`, `splits`, `datasets`,
`leakage`) is free of torch, so that `check`, `list` and `data check` answer without it.
"""
