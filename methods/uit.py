"""UIT: which losses a step has, and in which order the two encoders serve them.

Every method of `methods.variants` is this class with other switches; its parts live in their own modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import losses
from methods.base import Batch, Noise
from methods.clip import Backbone, DualEncoder, at_end_of_text
from methods.masked_language import MaskedLanguage, draw_masking, mask_captions, most_chosen
from methods.mining import MiningOptions, mining_loss
from methods.restoration import PatchPlan, Restoration, grey, plan_patches
from methods.settings import Masking, UITSettings
from methods.text_augmentation import augment_captions, draw_caption_augmentation


class ZeroShot(DualEncoder):
    """The pretrained backbone, evaluated as it is."""

    trains = False


class UIT(DualEncoder):
    """UIT and its ablated variants, by the switches in `settings`.

    Modules that a variant does not use are not built, so its parameter count is honest.
    """

    settings: UITSettings

    def __init__(
        self, settings: UITSettings, *, backbone: Backbone, identities: int, image_size: tuple[int, int]
    ) -> None:
        super().__init__(settings, backbone=backbone, identities=identities, image_size=image_size)
        self.vocab_size = backbone.config.vocab_size
        width, depth = backbone.embed_dim, settings.decoder_depth
        if settings.identity:
            self.classifier = nn.Linear(width, identities)
            nn.init.normal_(self.classifier.weight, std=0.001)
            nn.init.zeros_(self.classifier.bias)
        if settings.tir:
            self.restoration = Restoration(width, backbone.grid, backbone.config.patch_size, depth)
        if settings.mlm:
            self.masked_language = MaskedLanguage(width, self.vocab_size, depth)

    def draw_noise(self, size: int, generator: torch.Generator, device: torch.device | str) -> Noise:
        """All randomness of a step, each tensor [size, …].

        It is the same for every variant: switching a part off changes no other part's noise.
        """
        shape = (size, self.clip.config.context_length)
        return {
            **draw_caption_augmentation(shape, generator, device),
            **draw_masking(shape, generator, device),
            "patches": torch.rand(size, self.clip.patches, generator=generator, device=device),
        }

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Named scalar losses of `batch`, weights applied."""
        settings, clip = self.settings, self.clip
        captions, content = self.augmented(batch, noise)
        masked, chosen = mask_captions(
            captions, content, noise, self.vocab_size, self.masking, settings.mask_at_least_one
        )
        seen = captions if settings.caption_corruption == "off" else masked

        # All tokens are projected only where something asks for them.
        image_tokens = clip.image_tokens(batch.images) if settings.mlm else None
        image = clip.encode_image(batch.images) if image_tokens is None else image_tokens[:, 0]
        text_tokens = clip.text_tokens(seen) if settings.tir and settings.text_pass == "reused" else None
        text = clip.encode_text(seen) if text_tokens is None else at_end_of_text(text_tokens, seen)

        computed = self.global_losses(batch, image, text, noise)
        if settings.tir:
            context = clip.text_tokens(seen) if text_tokens is None else text_tokens
            computed["tir"] = settings.restoration_weight * self.restoration_loss(
                batch.images, context, noise
            )
        if image_tokens is not None:
            loss = self.masked_language_loss(captions, masked, chosen, image_tokens)
            computed["mlm"] = settings.mlm_weight * loss
        return computed

    def restoration_loss(self, images: Tensor, text_tokens: Tensor, noise: Noise) -> Tensor:
        """TIR: mean squared error of the hidden patches over all processes, a scalar.

        `images` [batch, 3, height, width] in colour, `text_tokens` [batch, tokens, embed_dim].
        """
        predicted, plan = self.restore(images, text_tokens, noise)
        return self.gather(self.restoration.loss(predicted, images, plan)).mean()

    def masked_language_loss(
        self, captions: Tensor, masked: Tensor, chosen: Tensor, image_tokens: Tensor
    ) -> Tensor:
        """MLM: mean cross-entropy of the chosen words over all processes, a scalar.

        `captions` [batch, tokens] the true words, `masked` [batch, tokens] what the encoder sees, `chosen`
        [batch, tokens] bool, `image_tokens` [batch, 1 + patches, embed_dim].
        """
        words = self.clip.text_tokens(masked)
        limit = most_chosen(len(captions), captions.shape[1], self.masking)
        total, count = self.masked_language(words, image_tokens, captions, chosen, limit)
        return self.gather(total).sum() / self.gather(count).sum().clamp(min=1)

    @property
    def masking(self) -> Masking:
        """How words are chosen; where captions are overwritten, MLM is asked for just those words."""
        corruption = self.settings.caption_corruption
        return self.settings.mlm_masking if corruption == "off" else corruption

    def augmented(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Captions of a training step, and which of their tokens are nouns or adjectives: [batch, tokens]."""
        if not self.settings.text_pruning:
            return batch.captions, batch.content
        kind, probability = self.settings.text_augmentation, self.settings.augmentation_probability
        return augment_captions(batch, noise, kind, probability, self.vocab_size)

    def restore(self, images: Tensor, text_tokens: Tensor, noise: Noise) -> tuple[Tensor, PatchPlan]:
        """Restored patches [batch, patches, size·size·3], and which of them had been hidden."""
        plan = plan_patches(noise["patches"], self.settings.mask_ratio, self.settings.loss_mask_off_by_one)
        visible = self.clip.image_tokens(grey(images), plan.visible)
        return self.restoration(visible, text_tokens, plan), plan

    def classify(self, features: Tensor) -> Tensor:
        """Scores [batch, identities] of features [batch, embed_dim], in the precision of the features."""
        weight, bias = self.classifier.weight, self.classifier.bias
        return F.linear(features, weight.to(features.dtype), bias.to(features.dtype))

    def mining_options(self) -> MiningOptions:
        """The numbers of the mining rule in use."""
        settings = self.settings
        if settings.cmt_mining == "all_negatives":
            margin, temperature = settings.tal_margin, settings.tal_temperature
        else:
            margin, temperature = settings.margin, settings.temperature
        return MiningOptions(settings.cmt_positive, margin, temperature, settings.tal_reduction)

    def losses(
        self, batch: Batch, image_features: Tensor, text_features: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """The losses between features [global batch, embed_dim], weights applied."""
        settings, people = self.settings, batch.person_ids
        pair, temperature = (image_features, text_features), settings.temperature
        computed: dict[str, Tensor] = {}
        if settings.sdm:
            computed["sdm"] = settings.sdm_weight * losses.sdm(*pair, people, temperature)
        if settings.identity:
            logits = self.classify(image_features), self.classify(text_features)
            computed["identity"] = settings.identity_weight * losses.identity(*logits, people)
        if settings.cmt:
            options = self.mining_options()
            computed["cmt"] = settings.cmt_weight * mining_loss(*pair, people, settings.cmt_mining, options)
        if settings.itc:
            computed["itc"] = settings.itc_weight * losses.itc(*pair, temperature)
        if settings.cmpm:
            computed["cmpm"] = settings.cmpm_weight * losses.cmpm(*pair, people)
        return computed
