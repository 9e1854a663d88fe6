"""Studies: what a study file may say, and the cells it expands into. Torch stays unloaded."""
