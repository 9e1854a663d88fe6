"""TBPS-CLIP (Cao et al. 2024): N-ITC and R-ITC, in its full form with further views, C-ITC and SS-I."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.attention import full_precision
from methods.base import Batch, Noise, View
from methods.clip import Backbone, DualEncoder
from methods.tbps_losses import citc, learned_scale, nitc, ritc, simclr
from methods.tbps_settings import TBPSSettings


class TBPSCLIP(DualEncoder):
    """TBPS-CLIP, and by its switches the simplified form.

    Its text encoder drops attention probabilities where the recipe says so (`text_dropout`); the soft labels
    of N-ITC then come from another draw than the features.
    """

    settings: TBPSSettings

    def __init__(
        self, settings: TBPSSettings, *, backbone: Backbone, identities: int, image_size: tuple[int, int]
    ) -> None:
        super().__init__(settings, backbone=backbone, identities=identities, image_size=image_size)
        self.clip.logit_scale.requires_grad_(settings.learned_scale)
        self.clip.visual.conv1.weight.requires_grad_(not settings.frozen_patch_embedding)
        views: dict[str, View] = {"second": "same"} if settings.second_view else {}
        if settings.simclr:
            width, hidden = backbone.embed_dim, settings.simclr_hidden
            self.simclr_mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
            views |= {"strong_1": "strong", "strong_2": "strong"}
        self.views = views

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Named scalar losses of the whole (global) batch, weights applied."""
        # A batch that was made without views (to count operations) stands for its own.
        views = {name: batch.views.get(name, batch.images) for name in self.views}
        images = {"first": batch.images, **views}
        features = {name: self.gather(self.encode_image(view).float()) for name, view in images.items()}
        text = self.gather(self.encode_text(batch.captions).float())
        with torch.no_grad():
            soft_text = self.gather(self.encode_text(batch.captions).float())
        people = self.gather(batch.person_ids)
        with full_precision(text.device.type):
            return self.feature_losses(features, text, soft_text, people, self.soft_share(batch))

    def soft_share(self, batch: Batch) -> Tensor | float:
        """Share of soft labels, a number or a scalar tensor; it grows over the first epoch."""
        share = self.settings.soft_label_share
        return share if batch.epochs_done is None else share * batch.epochs_done.clamp(max=1.0)

    def feature_losses(
        self,
        images: dict[str, Tensor],
        text: Tensor,
        soft_text: Tensor,
        people: Tensor,
        share: Tensor | float,
    ) -> dict[str, Tensor]:
        """The losses between features [global batch, width].

        The image encoder draws nothing at random, so its second pass would give the same features.

        Args:
            images: features of each view in use: `first`, `second`, `strong_1`, `strong_2`.
            text: features of the captions.
            soft_text: those of a second pass, for soft labels.
            people: [global batch] person ids.
            share: of soft labels in N-ITC.
        """
        settings = self.settings
        scale = learned_scale(self.clip.logit_scale, settings.scale_cap)
        views = [images[name] for name in ("first", "second") if name in images]
        between = [nitc((view, text), (view.detach(), soft_text), people, scale, share) for view in views]
        computed = {"nitc": settings.nitc_weight * torch.stack(between).mean()}
        pair = images["first"], text
        computed["ritc"] = settings.ritc_weight * ritc(pair, people, scale, settings.ritc_floor)
        if settings.citc:
            computed["citc"] = settings.citc_weight * citc(*pair)
        if settings.simclr:
            first, second = self.project(images["strong_1"]), self.project(images["strong_2"])
            contrast = simclr(first, second, settings.simclr_temperature)
            computed["simclr"] = settings.simclr_weight * contrast
        return computed

    def project(self, features: Tensor) -> Tensor:
        """Features [batch, width] as SS-I compares them, float32."""
        projected: Tensor = self.simclr_mlp(features.to(next(self.simclr_mlp.parameters()).dtype))
        return projected.float()
