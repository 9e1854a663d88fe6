"""Two processes with half the batch each compute what one process with the whole batch computes."""

import pytest
import torch
from distributed_runs import METHODS, resume, three_steps

from harness.machine.devices import make_fabric
from harness.store.cell_run import CellRun


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By (method, number of processes, rank), what three steps left."""
    folder = tmp_path_factory.mktemp("distributed")
    make_fabric("fp32", device="cpu", devices=2).launch(three_steps, str(folder))
    three_steps(make_fabric("fp32", device="cpu"), str(folder))
    found = {}
    for path in folder.iterdir():
        method, _, world, rank, _ = path.name.split(".")
        found[method, int(world), int(rank)] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_losses_of_two_processes_are_those_of_one_with_the_double_batch(results, method):
    one, two = results[method, 1, 0]["losses"], results[method, 2, 0]["losses"]
    assert {"sdm", "identity", "cmt"} < set(one)
    assert ("tir" if method == "uit" else "mlm") in one
    assert two == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_the_third_step_agree(results, method):
    one, two = results[method, 1, 0]["gradients"], results[method, 2, 0]["gradients"]
    assert set(one) == set(two)
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    for name, gradient in one.items():
        assert torch.allclose(two[name], gradient, rtol=1e-4, atol=1e-5 * max(1.0, largest)), name


@pytest.mark.parametrize("method", METHODS)
def test_weights_after_three_steps_agree_and_are_the_same_on_both_processes(results, method):
    one, two, other = (results[method, *who]["weights"] for who in ((1, 0), (2, 0), (2, 1)))
    for name, weight in one.items():
        assert torch.allclose(two[name], weight, atol=1e-5), name
        assert torch.equal(two[name], other[name]), name


def test_only_the_first_process_writes_and_both_choose_the_same_epochs(results):
    for method in METHODS:
        assert results[method, 2, 0]["wrote"] == [True, True, True]
        assert results[method, 2, 1]["wrote"] == [False, False, False]
        assert (
            results[method, 2, 0]["chosen"]
            == results[method, 2, 1]["chosen"]
            == results[method, 1, 0]["chosen"]
        )


def test_of_two_processes_that_resume_only_one_mends_the_history(tmp_path):
    resume(make_fabric("fp32", device="cpu"), str(tmp_path), 1)
    (tmp_path / "history.jsonl").write_text("damaged")
    make_fabric("fp32", device="cpu", devices=2).launch(resume, str(tmp_path), 2)
    run = CellRun(tmp_path)
    assert [line["epoch"] for line in run.history] == [1, 2]
    assert len(list(tmp_path.glob("history.jsonl.damaged*"))) == 1
    assert len(run.notes) == 1
