"""The dual encoder every method is built on: open_clip's CLIP, with all tokens in the joint space."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional as F

from methods.attention import full_precision, use_fast_attention
from methods.backbones import (
    BackboneConfig,
    adapt_to_recipe,
    backbone_config,
    backbone_names,
    config_from_raw,
)
from methods.base import Batch, Method, Noise
from methods.blocks import encode_one_token, token_at
from methods.pretrained import WeightsNotFoundError, adapt_to_weights, find_weights
from methods.tokenizer import Tokenizer
from methods.weight_files import read_state

__all__ = [
    "Backbone",
    "BackboneConfig",
    "DualEncoder",
    "WeightsNotFoundError",
    "backbone_config",
    "backbone_names",
    "config_from_raw",
    "load_backbone",
    "resize_positions",
]


class Backbone(CLIP):  # type: ignore[misc]  # open_clip is untyped
    """open_clip's CLIP with its own parameter names, giving every token projected to the joint space."""

    def __init__(self, config: BackboneConfig, image_size: tuple[int, int]) -> None:
        raw = deepcopy(config.raw)
        raw["vision_cfg"]["image_size"] = image_size
        super().__init__(
            raw["embed_dim"],
            CLIPVisionCfg(**raw["vision_cfg"]),
            CLIPTextCfg(**raw["text_cfg"]),
            quick_gelu=raw.get("quick_gelu", False),
        )
        use_fast_attention(self)
        self.config, self.image_size = replace(config, raw=raw), image_size
        self.logit_scale.requires_grad_(False)  # the temperature is a setting here, never learned

    @property
    def embed_dim(self) -> int:
        """Width of the joint embedding."""
        return self.config.embed_dim

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.visual.grid_size
        return rows, columns

    @property
    def patches(self) -> int:
        """Number of patches of an image."""
        rows, columns = self.grid
        return rows * columns

    def drop_attention_of_text(self, rate: float) -> None:
        """Set a share `rate` of the attention probabilities of every text block to 0 in training."""
        for block in self.transformer.resblocks:
            block.attn.dropout = rate

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that makes ids for this backbone."""
        return Tokenizer(self.config.vocab_size, self.config.context_length)

    def embed_patches(
        self,
        images: Tensor,
        visible: Tensor | None = None,
        replaced: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Tokens [batch, 1 + visible, width] before the transformer: class token, then (visible) patches.

        `replaced`: which patches [batch, patches] bool give way to a token [width], before positions.
        """
        visual = self.visual
        patches = visual.conv1(images.to(visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        if replaced is not None:
            masked, token = replaced
            patches = torch.where(masked.unsqueeze(-1), token.to(patches.dtype), patches)
        positions = visual.positional_embedding.to(patches.dtype)
        patches = patches + positions[1:]
        if visible is not None:
            patches = patches.gather(1, visible.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        first = (visual.class_embedding.to(patches.dtype) + positions[0]).expand(patches.shape[0], 1, -1)
        tokens: Tensor = visual.ln_pre(torch.cat([first, patches], dim=1))
        return tokens

    def embed_words(self, captions: Tensor) -> Tensor:
        """Tokens [batch, tokens, width] before the transformer."""
        words = self.token_embedding(captions)
        tokens: Tensor = words + self.positional_embedding[: captions.shape[1]].to(words.dtype)
        return tokens

    def causal_mask(self, captions: Tensor) -> Tensor:
        """Causal mask [tokens, tokens] that is added to the scores of words."""
        mask: Tensor = self.attn_mask[: captions.shape[1], : captions.shape[1]]
        return mask

    def project_image(self, tokens: Tensor) -> Tensor:
        """Tokens of the image transformer [batch, tokens, width] in the joint space."""
        projected: Tensor = self.visual.ln_post(tokens) @ self.visual.proj
        return projected

    def project_text(self, tokens: Tensor) -> Tensor:
        """Tokens of the text transformer [batch, tokens, width] in the joint space."""
        projected: Tensor = self.ln_final(tokens) @ self.text_projection
        return projected

    def image_tokens(
        self,
        images: Tensor,
        visible: Tensor | None = None,
        replaced: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """All tokens [batch, 1 + patches, embed_dim] after `ln_post` and projection; the class token first.

        With `visible` [batch, kept] (patch numbers) the transformer sees only those patches and the class
        token; with `replaced` a token [width] stands in place of the patches [batch, patches] that are true.
        """
        return self.project_image(self.visual.transformer(self.embed_patches(images, visible, replaced)))

    def text_tokens(self, captions: Tensor) -> Tensor:
        """All tokens [batch, tokens, embed_dim] after `ln_final` and projection, padding included."""
        return self.project_text(
            self.transformer(self.embed_words(captions), attn_mask=self.causal_mask(captions))
        )

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features [batch, embed_dim] of images [batch, 3, height, width]."""
        tokens = self.embed_patches(image)
        first = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
        features = self.project_image(encode_one_token(self.visual.transformer, tokens, first))
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Features [batch, embed_dim] of token ids [batch, tokens]: the state at the end-of-text token."""
        tokens, end = self.embed_words(text), text.argmax(dim=-1)
        features = self.project_text(encode_one_token(self.transformer, tokens, end, self.causal_mask(text)))
        return F.normalize(features, dim=-1) if normalize else features


def at_end_of_text(tokens: Tensor, captions: Tensor) -> Tensor:
    """The token [batch, width] at the end-of-text position of each caption, which has the highest id."""
    return token_at(captions.argmax(dim=-1), tokens).squeeze(1)


class DualEncoder(Method):
    """A method with a CLIP backbone.  Override `losses` to make a method of your own.

    Example:
        class Mine(DualEncoder):
            def losses(self, batch, image_features, text_features, noise):
                cosine = F.cosine_similarity(image_features, text_features)
                return {"pull": (1 - cosine).mean()}
    """

    def __init__(
        self, settings: BaseModel, *, backbone: Backbone, identities: int, image_size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.settings, self.identities, self.image_size = settings, identities, image_size
        self.rate_groups = getattr(settings, "rate_groups", {})
        self.clip = backbone
        self.embed_dim = backbone.embed_dim

    def encode_image(self, images: Tensor) -> Tensor:
        """Features [batch, embed_dim] of `images` [batch, 3, height, width], not normalised."""
        return self.clip.encode_image(images)

    def encode_text(self, captions: Tensor) -> Tensor:
        """Features [batch, embed_dim] of token ids [batch, tokens], not normalised."""
        return self.clip.encode_text(captions)

    def plain_backbone(self) -> Backbone | None:
        """A plain CLIP with the same features, for other programs; None where none has them."""
        ours = type(self)
        as_clip = (
            ours.encode_image is DualEncoder.encode_image and ours.encode_text is DualEncoder.encode_text
        )
        return self.clip if as_clip else None

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Named scalar losses of the whole (global) batch."""
        images, captions = self.encode_image(batch.images), self.encode_text(batch.captions)
        return self.global_losses(batch, images, captions, noise)

    def global_losses(
        self, batch: Batch, image_features: Tensor, text_features: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """`losses` of the features of all processes, in float32 whatever the encoders' precision.

        `image_features` and `text_features` [batch, embed_dim] are this process's share.
        """
        images, captions = self.gather(image_features.float()), self.gather(text_features.float())
        whole = replace(batch, person_ids=self.gather(batch.person_ids))
        with full_precision(images.device.type):
            return self.losses(whole, images, captions, noise)

    def losses(
        self, batch: Batch, image_features: Tensor, text_features: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """Named scalar losses from float32 features [global batch, embed_dim].

        `batch.person_ids` [global batch] is that of all processes.

        The rest of `batch` is this process's share; join anything computed from it by `self.gather`.
        """
        raise NotImplementedError


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positional embedding [1 + rows·columns, width] of an `old` grid, resized bilinearly to a `new` one."""
    if old == new:
        return positions
    first, patches = positions[:1], positions[1:]
    patches = patches.reshape(1, *old, -1).permute(0, 3, 1, 2).float()
    patches = F.interpolate(patches, size=new, mode="bilinear", align_corners=False)
    patches = patches.permute(0, 2, 3, 1).flatten(1, 2)[0].to(first.dtype)
    return torch.cat([first, patches])


def resize_text_positions(positions: Tensor, length: int) -> Tensor:
    """Positional embedding [tokens, width] for captions of `length` tokens.

    A shorter text keeps its first positions; for a longer one all are interpolated linearly, the first and
    the last staying at the ends.
    """
    if length <= len(positions):
        return positions[:length]
    columns = positions.T.unsqueeze(0).float()
    longer = F.interpolate(columns, size=length, mode="linear", align_corners=True)
    return longer.squeeze(0).T.to(positions.dtype)


def load_backbone(
    name: str,
    pretrained: str,
    image_size: tuple[int, int],
    *,
    seed: int,
    text_length: int | None = None,
    normalisation: str = "clip",
) -> Backbone:
    """The backbone `name` at `image_size` (height, width) with pretrained weights.

    `text_length` tokens a caption (None: its own), and `normalisation` of pixels, are the recipe's.

    `pretrained` is an open_clip tag, the path of an open_clip or OpenAI file, `rendered` (shipped with the
    package) or `none`, in which case `seed` alone decides the initial weights.  Raises `UnknownNameError` for
    the name and `WeightsNotFoundError` for the weights; with `HARNESS_OFFLINE=1` the network is never tried.
    """
    config = adapt_to_weights(backbone_config(name), pretrained)
    config = adapt_to_recipe(config, text_length, normalisation)
    _check_image_size(config, image_size)
    state = None if pretrained == "none" else read_state(find_weights(name, pretrained))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Backbone(config, image_size)
    if state is not None:
        load_weights(backbone, state)
    return backbone


def _check_image_size(config: BackboneConfig, image_size: tuple[int, int]) -> None:
    if any(side <= 0 or side % config.patch_size for side in image_size):
        raise ValueError(f"image size {image_size} is not a multiple of the patch size {config.patch_size}")


def load_weights(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Load weights under open_clip's names, their positions resized.

    Raises:
        ValueError: they do not fit the backbone.
    """
    state = {name: value for name, value in encoder_weights(state).items() if name != "attn_mask"}
    state.setdefault("logit_scale", backbone.logit_scale.detach())
    try:
        positions = state["visual.positional_embedding"]
        old = stored_grid(len(positions) - 1, backbone)
        state["visual.positional_embedding"] = resize_positions(positions, old, backbone.grid)
        length = backbone.config.context_length
        state["positional_embedding"] = resize_text_positions(state["positional_embedding"], length)
        backbone.load_state_dict(state, strict=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"these weights do not fit {backbone.config.name}: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    """The first of torch's lines about weights that do not fit, and how many there are."""
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("Error(s) in")]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"{lines[0][:300]}{more}"


def encoder_weights(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of both encoders under open_clip's names, of a file in its layout or in IRRA's."""
    prefix = "base_model."
    if not any(name.startswith(prefix) for name in state):
        return state
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def weights_problem(name: str, pretrained: str, image_size: tuple[int, int]) -> str:
    """Why the file of weights `pretrained` cannot start the backbone `name`; empty when it can.

    Nothing of the backbone's size is allocated. Raises `WeightsNotFoundError` when there is no such file.
    """
    file = find_weights(name, pretrained)
    try:
        state = read_state(file)
        with torch.device("meta"):
            backbone = Backbone(backbone_config(name), image_size)
        load_weights(backbone, {key: value.to("meta") for key, value in state.items()})
    except ValueError as error:
        return str(error)
    return ""


def stored_grid(patches: int, backbone: Backbone) -> tuple[int, int]:
    """Rows and columns of a stored grid of `patches`: the backbone's, its configuration's, or a square.

    Raises:
        ValueError: the number of patches fits none of the three.
    """
    side, patch = int(patches**0.5), backbone.config.patch_size
    height, width = backbone.config.image_size
    for rows, columns in (backbone.grid, (height // patch, width // patch), (side, side)):
        if rows * columns == patches:
            return rows, columns
    raise ValueError(f"cannot tell the shape of a grid of {patches} patches")
