"""Parameters of a search: their values, grids and terms, and the passwords of storage URLs."""

from __future__ import annotations

import pytest

from harness.machine.passwords import masked, masked_text, split_password
from harness.search.space import Parameter, differences, grid, same_point, size


def test_a_stepped_range_has_the_values_a_person_would_write() -> None:
    assert Parameter("mask_ratio", 0.3, 0.9, step=0.2).grid(8) == (0.3, 0.5, 0.7, 0.9)
    assert Parameter("decoder_depth", 1, 4, integer=True).grid(8) == (1, 2, 3, 4)
    assert Parameter("lr", 1e-5, 1e-3, log=True).count is None


def test_a_range_of_a_billion_steps_is_counted_and_not_listed() -> None:
    fine = Parameter("lr", 0.0, 1.0, step=1e-9)
    assert size({"lr": fine, "margin": Parameter("margin", choices=(0.1, 0.2))}) == 2 * (10**9 + 1)
    assert fine.grid_count(8) == 10**9 + 1
    assert fine.is_on_grid(0.123456789, 8)
    assert not fine.is_on_grid(0.1234567895, 8)


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Parameter("r", 0.3, 0.9), [0.3, 0.7, 0.9], [0.29, 0.91, True, "0.5", None]),
        (Parameter("r", 0.3, 0.9, step=0.2), [0.5, 0.7000000001], [0.6]),
        (Parameter("n", 1, 9, integer=True), [1, 9, 4.0], [0, 10, 4.5]),
        (Parameter("c", choices=("own_pair", "weakest")), ["weakest"], ["Weakest", 1]),
        (Parameter("c", choices=(True, 2)), [True, 2], [1, False]),
    ],
)
def test_a_parameter_admits_what_it_could_draw_and_nothing_else(
    parameter: Parameter, inside: list[object], outside: list[object]
) -> None:
    assert all(parameter.admits(value) for value in inside)
    assert not any(parameter.admits(value) for value in outside)


def test_optuna_draws_only_values_that_the_parameter_admits() -> None:
    import optuna

    space = [
        Parameter("a", 0.3, 0.9, step=0.2),
        Parameter("b", 0.01, 0.1, log=True),
        Parameter("c", 2, 9, integer=True),
        Parameter("d", choices=("x", "y")),
        Parameter("e", 2, 64, integer=True, log=True),
    ]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask({parameter.name: parameter.distribution() for parameter in space})
        assert all(parameter.admits(trial.params[parameter.name]) for parameter in space)


def test_a_grid_visits_every_combination_and_spreads_endless_ranges_on_their_scale() -> None:
    space = {
        "a": Parameter("a", choices=("x", "y")),
        "b": Parameter("b", 0.01, 1.0, log=True),
        "c": Parameter("c", 0.0, 1.0),
    }
    points = list(grid(space, 3))
    assert len(points) == 2 * 3 * 3
    assert sorted({point["b"] for point in points}) == [0.01, 0.1, 1.0]
    assert sorted({point["c"] for point in points}) == [0.0, 0.5, 1.0]
    assert size(space) is None
    assert size({"a": space["a"], "d": Parameter("d", 0, 1, step=0.5)}) == 6
    assert Parameter("n", 1, 100, integer=True).grid(3) == (1, 50, 100)


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter("a", choices=("x", "y")),
        Parameter("b", 0.01, 1.0, log=True),
        Parameter("c", 0.3, 0.9, step=0.2),
        Parameter("d", 1, 9, log=True, integer=True),
        Parameter("e", 1, 100, integer=True),
        Parameter("f", 2, 20, step=6, integer=True),
    ],
)
def test_a_grid_is_counted_as_it_is_listed(parameter: Parameter) -> None:
    listed = parameter.grid(8)
    assert parameter.grid_count(8) == len(listed) == len(set(listed))
    assert all(parameter.is_on_grid(value, 8) and parameter.admits(value) for value in listed)


def test_points_are_one_when_they_train_the_same_model() -> None:
    assert same_point({"a": 0.1 + 0.2, "b": "x"}, {"b": "x", "a": 0.3})
    assert not same_point({"a": 0.3}, {"a": 0.3001})
    assert not same_point({"a": 1}, {"a": True})
    assert not same_point({"a": 1}, {"a": 1, "b": 2})


def test_a_change_of_terms_is_named_with_both_values() -> None:
    stored = {"space": {"mask_ratio": {"low": 0.3, "high": 0.9}, "margin": {"low": 0.0}}, "trials": 12}
    wanted = {"space": {"mask_ratio": {"low": 0.3, "high": 0.8}, "lr": {"low": 1e-6}}, "trials": 12}
    assert differences(stored, wanted) == [
        "space.lr: is new ({'low': 1e-06})",
        "space.margin: was {'low': 0.0}, is gone",
        "space.mask_ratio.high: was 0.9, is now 0.8",
    ]
    assert differences(stored, stored) == []


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("postgresql://me:open@host:5432/db", "postgresql://me@host:5432/db", "open"),
        ("postgresql+psycopg://me:p%40ss%3Aword@host/db", "postgresql+psycopg://me@host/db", "p@ss:word"),
        ("postgresql://me:p@ss/w?rd#@host/db", "postgresql://me@host/db", "p@ss/w?rd#"),
        ("postgresql://host/db?user=me&password=open", "postgresql://host/db?user=me", "open"),
        ("postgresql://host/db?password=open&user=me", "postgresql://host/db?user=me", "open"),
        ("postgresql://host/db?password=open", "postgresql://host/db", "open"),
        ("postgresql://host/db?password=p%40ss%26word", "postgresql://host/db", "p@ss&word"),
        ("postgresql://host/db?a=1&PASSWORD=open&b=2#c", "postgresql://host/db?a=1&b=2#c", "open"),
        ("postgresql://:open@host/db", "postgresql://@host/db", "open"),
        ("postgresql://me@host/db", "postgresql://me@host/db", None),
        ("sqlite:////tmp/a@b:c.db", "sqlite:////tmp/a@b:c.db", None),
    ],
)
def test_a_password_is_taken_out_of_a_storage_url_wherever_it_stands(
    url: str, bare: str, password: str | None
) -> None:
    assert split_password(url) == (bare, password)
    if password is None:
        assert masked(url) == url
    else:
        assert "***" in masked(url)
        assert "open" not in masked(url)
        assert "p@ss" not in masked(url)
        assert "p%40ss" not in masked(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:open@host:5432/db",
        "postgresql:/me:open@host/db",
        "postgresql:me:open@host/db",
        "postgresql://me:%40open%2F@host/db",
        "postgresql://me:p@open@host/db",
        "postgresql://host/db?sslpassword=open",
    ],
)
def test_a_password_is_taken_out_of_a_sentence_also_where_its_url_is_mistyped(url: str) -> None:
    for sentence in (f"study.yaml:3: {url}: no database", f"got ['{url}', 1]", f"search.storage={url}"):
        assert "***" in masked_text(sentence)
        assert "open" not in masked_text(sentence)
        assert "host" in masked_text(sentence)


def test_a_sentence_without_a_url_stays_as_it_is() -> None:
    for sentence in ("studies/x.yaml:12: train.epochs: must be at least 1, got -3", "write to me@host: a:b"):
        assert masked_text(sentence) == sentence
