"""The search for hyper-parameters: Optuna's samplers and databases, with a budget, owners and checkpoints.

`space` and `urls` are pure; `storage` opens and guards a database; `desk` hands out trials; `trial` sees one
through; `run` keeps a launcher busy until every method has spent the same budget.
"""
