"""The search for hyper-parameters: Optuna's samplers and databases, with equal budgets for every method.

`study` is where a study enters: it plans one search per method and dataset, runs them and returns the
winners' settings. Below it, in the order of a trial's life:

* `space`, `plan`, `budget`: what may be tried, what a search is, and how far it is. Pure.
* `search_checks`: everything a search would be refused for, found before anything is made.
* `database`, `creation`: where trials are stored, and making or continuing a search there.
* `samplers`: how the settings of a trial are drawn, and which trials are ended early.
* `trial_queue`, `trial_owner`, `trial_checksums`: how trials are given to workers, each to one at a time,
  those of dead workers first, and how a trial that was altered from outside is noticed.
* `trial_run`, `trial_training`: what a worker does with a trial: it trains a cell, reports every epoch, and
  stores how the trial ended.
* `search_loop`: keeps workers busy until every search has spent its budget.
* `winner`, `trial_record`, `search_json`: which trial wins, and what a report is given to read.
* `live_table`: what a terminal shows meanwhile.
"""
