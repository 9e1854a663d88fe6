"""Datasets → Split records; decoded-image cache; captions → tokens; sampler; batched augmentation on the device.

Nothing here imports torch by itself: `records`, `annotations`, `layouts`, `datasets` and `leakage` are torch-free,
so that `check`, `list` and `data check` answer without it.
"""
