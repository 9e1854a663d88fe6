"""The dual encoder: its tokens, its weights, and where they come from."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from toy import toy_backbone, toy_batch

from harness.registry import UnknownNameError
from methods import pretrained
from methods.backbones import backbone_config, backbone_names
from methods.clip import WeightsNotFoundError, load_backbone, resize_positions
from methods.weight_files import read_state

TINY = (96, 32)

DOWNLOAD = "open_clip.pretrained.download_pretrained"


def test_features_are_those_of_open_clip() -> None:
    backbone, batch = toy_backbone(), toy_batch()
    theirs = open_clip.model.CLIP
    image = theirs.encode_image(backbone, batch.images)
    text = theirs.encode_text(backbone, batch.captions)
    assert torch.allclose(backbone.encode_image(batch.images), image, atol=1e-5)
    assert torch.allclose(backbone.encode_text(batch.captions), text, atol=1e-5)
    assert torch.allclose(backbone.image_tokens(batch.images)[:, 0], image, atol=1e-5)


def test_features_teach_the_weights_what_those_of_open_clip_teach() -> None:
    backbone, batch = toy_backbone(), toy_batch()
    theirs = open_clip.model.CLIP

    def gradients(image: torch.Tensor, text: torch.Tensor) -> dict[str, torch.Tensor]:
        backbone.zero_grad()
        (image.square().sum() + text.square().sum()).backward()
        return {
            name: weight.grad.clone() for name, weight in backbone.named_parameters() if weight.requires_grad
        }

    ours = gradients(backbone.encode_image(batch.images), backbone.encode_text(batch.captions))
    expected = gradients(
        theirs.encode_image(backbone, batch.images), theirs.encode_text(backbone, batch.captions)
    )
    for name, gradient in expected.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max())), name


def test_hidden_patches_have_no_influence() -> None:
    backbone, batch = toy_backbone(), toy_batch()
    visible = torch.tensor([[0, 5, 7]]).expand(6, -1)
    tokens = backbone.image_tokens(batch.images, visible)
    changed = batch.images.clone()
    changed[:, :, :8, 8:] += 5  # patch 1
    assert tokens.shape == (6, 4, backbone.embed_dim)
    assert torch.equal(tokens, backbone.image_tokens(changed, visible))
    changed[:, :, :8, :8] += 5  # patch 0
    assert not torch.equal(tokens, backbone.image_tokens(changed, visible))


def test_all_patches_visible_is_the_whole_image() -> None:
    backbone, batch = toy_backbone(), toy_batch()
    everything = torch.arange(backbone.patches).expand(6, -1)
    whole = backbone.image_tokens(batch.images)
    assert torch.allclose(backbone.image_tokens(batch.images, everything), whole, atol=1e-6)


def test_a_seed_decides_the_weights_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (load_backbone("tiny", "none", TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.visual.proj, other.visual.proj)


def test_tiny_is_tiny() -> None:
    backbone = load_backbone("tiny", "none", TINY, seed=0)
    assert backbone.grid == (12, 4)
    weights = sum(weight.numel() for weight in backbone.parameters())
    assert weights - backbone.token_embedding.weight.numel() < 1.6e6
    assert weights * 2 < 5e6  # bytes at half precision


def test_the_temperature_of_clip_is_not_trained() -> None:
    frozen = [name for name, weight in toy_backbone().named_parameters() if not weight.requires_grad]
    assert frozen == ["logit_scale"]


def test_positions_are_resized_bilinearly_and_the_class_token_is_kept() -> None:
    rows, columns = 4, 4
    plane = torch.tensor([[2.0 * row - column for column in range(columns)] for row in range(rows)])
    positions = torch.cat([torch.tensor([[9.0]]), plane.reshape(-1, 1)])
    resized = resize_positions(positions, (4, 4), (8, 2))
    assert resized[0].item() == 9.0
    # Bilinear interpolation reproduces a plane wherever it does not reach over the border.
    inner = resized[1:].reshape(8, 2)[1:7]
    expected = torch.tensor(
        [[2 * ((r + 0.5) / 2 - 0.5) - ((c + 0.5) * 2 - 0.5) for c in (0, 1)] for r in range(1, 7)]
    )
    assert torch.allclose(inner, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_an_open_clip_file_is_loaded_at_another_image_size(tmp_path: Path, suffix: str) -> None:
    source, file = load_backbone("tiny", "none", TINY, seed=3), tmp_path / f"weights{suffix}"
    state = dict(source.state_dict())
    save_file(state, file) if suffix == ".safetensors" else torch.save({"state_dict": state}, file)
    same = load_backbone("tiny", str(file), TINY, seed=0)
    assert torch.equal(same.visual.positional_embedding, source.visual.positional_embedding)
    larger = load_backbone("tiny", str(file), (128, 64), seed=0)
    expected = resize_positions(source.visual.positional_embedding, (12, 4), (16, 8))
    assert torch.allclose(larger.visual.positional_embedding, expected)
    assert torch.equal(larger.visual.proj, source.visual.proj)


def test_an_openai_archive_is_read_as_weights(tmp_path: Path) -> None:
    file = tmp_path / "ViT.pt"
    torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)).save(str(file))
    assert set(read_state(file)) == {"weight", "bias"}


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "toy.safetensors"
    save_file(dict(toy_backbone().state_dict()), file)
    with pytest.raises(ValueError, match="do not fit tiny"):
        load_backbone("tiny", str(file), TINY, seed=0)


def test_weights_of_other_sizes_are_refused_in_one_line_with_their_number(tmp_path: Path) -> None:
    file = tmp_path / "wide.safetensors"
    state = dict(load_backbone("tiny", "none", TINY, seed=0).state_dict())
    other = {name: torch.ones(3) for name in ("ln_final.weight", "ln_final.bias", "visual.ln_post.bias")}
    save_file({**state, **other}, file)
    with pytest.raises(ValueError, match=r"do not fit tiny: size mismatch for .*\(and 2 more\)$") as refused:
        load_backbone("tiny", str(file), TINY, seed=0)
    assert "\n" not in str(refused.value)


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return eval, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    file = tmp_path / "trap.pth"
    torch.save({"model": Trap()}, file)
    with pytest.raises(ValueError, match="not a readable file of weights"):
        read_state(file)
    assert not (tmp_path / "sprung").exists()


def test_offline_names_the_file_and_where_to_put_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    monkeypatch.setattr(pretrained, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(DOWNLOAD, lambda _: pytest.fail("the network was tried"))
    with pytest.raises(WeightsNotFoundError) as refused:
        load_backbone("ViT-B-16-quickgelu", "openai", (384, 128), seed=0)
    assert "ViT-B-16.pt" in str(refused.value)
    assert str(tmp_path / ".cache" / "clip" / "ViT-B-16.pt") in str(refused.value)


def test_no_place_is_advised_for_a_tag_of_the_hub_where_nothing_would_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    monkeypatch.setattr(pretrained, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(WeightsNotFoundError, match="name its path under `pretrained:`") as refused:
        load_backbone("ViT-B-32", "datacomp_xl_s13b_b90k", (224, 224), seed=0)
    assert "put the file" not in str(refused.value)


def test_a_failed_download_gives_the_same_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: object) -> str:
        raise OSError("no route to host")

    monkeypatch.delenv("HARNESS_OFFLINE", raising=False)
    monkeypatch.setattr(pretrained, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(pretrained, "why_unreachable", lambda _: "")
    monkeypatch.setattr(DOWNLOAD, fail)
    with pytest.raises(WeightsNotFoundError, match=r"no route to host.*put the file at"):
        load_backbone("ViT-B-16-quickgelu", "openai", (384, 128), seed=0)


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port of this machine that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def address(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_network_that_is_not_reached_is_tried_once_and_said_with_the_way_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HARNESS_OFFLINE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = address(closed)
    monkeypatch.setattr(pretrained.constants, "ENDPOINT", nobody)
    monkeypatch.setattr(pretrained, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(DOWNLOAD, lambda _: pytest.fail("tried again and again"))
    with pytest.raises(WeightsNotFoundError, match="put the file at") as refused:
        load_backbone("ViT-B-16-quickgelu", "openai", (384, 128), seed=0)
    assert f"{nobody} was not reached: " in str(refused.value)
    assert "HARNESS_OFFLINE=1 avoids the wait" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_server_that_takes_the_call_and_says_nothing_is_not_waited_for(port: socket.socket) -> None:
    assert "timed out" in pretrained.why_unreachable(address(port), seconds=0.2)


def test_a_name_that_is_looked_up_forever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    assert "no answer within" in pretrained.why_unreachable("http://weights.invalid", seconds=0.1)
    over.set()


def test_an_answer_of_any_kind_is_an_answer(port: socket.socket) -> None:
    def answer() -> None:
        with port.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")

    answering = threading.Thread(target=answer)
    answering.start()
    assert pretrained.why_unreachable(address(port)) == ""
    answering.join()


def test_weights_that_are_neither_tag_nor_file_are_refused() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"neither a file nor a tag.*openai"):
        load_backbone("ViT-B-16-quickgelu", "openia", (384, 128), seed=0)


def test_an_unknown_backbone_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ViT-B-16"):
        backbone_config("ViT-B-16-quickgeluu")
    assert {"tiny", "ViT-B-16-quickgelu"} <= set(backbone_names())


def test_an_image_that_is_not_whole_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the patch size 8"):
        load_backbone("tiny", "none", (100, 32), seed=0)


def test_a_longer_text_has_interpolated_positions_and_a_shorter_one_the_first(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    source = load_backbone("tiny", "none", TINY, seed=3)
    save_file({name: value.contiguous() for name, value in source.state_dict().items()}, file)
    longer = load_backbone("tiny", str(file), TINY, seed=0, text_length=95)
    shorter = load_backbone("tiny", str(file), TINY, seed=0, text_length=20)
    positions = source.positional_embedding
    assert torch.equal(shorter.positional_embedding, positions[:20])
    assert torch.allclose(longer.positional_embedding[::2], positions, atol=1e-6)
    between = (positions[:-1] + positions[1:]) / 2
    assert torch.allclose(longer.positional_embedding[1::2], between, atol=1e-6)
    ids = source.tokenizer(["a woman in a red coat"])
    short = shorter.tokenizer(["a woman in a red coat"])
    assert short.shape == (1, 20)
    assert torch.allclose(shorter.encode_text(short), source.encode_text(ids), atol=1e-5)
