"""Datasets: annotations and images read and checked, captions as tokens, batches augmented on the device.

Every module up to a loaded dataset (its docstring says "Torch-free") does without torch, so that `check`,
`list` and `data check` answer at once.
"""
