"""Pairs of backbone and adapter that cannot be, with words that the refusal says, and why."""

NO_BIAS = "is a bias"
NO_INPUT_GRADIENT = "carry no gradient to it"

REFUSED = {
    ("chronos_t5", "bitfit"): NO_BIAS,
    ("chronos_t5", "channel_projector"): NO_INPUT_GRADIENT,
    ("chronos_t5", "surrogate_pair"): NO_INPUT_GRADIENT,
}
REASONS = {
    NO_BIAS: "Chronos-T5 has no bias parameters (relative position embeddings are not counted).",
    NO_INPUT_GRADIENT: "Chronos-T5 reads tokens, and no gradient passes a token. The projector "
    "works with `form: pca`, whose encoder is fitted and whose decoder alone trains.",
}
