"""A small recipe, and searches that fit it."""

from tsfm_adapt.recipe.files import loads

RECIPE = """
name: small
data:
  reader: {name: synthetic, subjects: 6, hours: 8}
  channels: {HR: bpm, SpO2: "%"}
  rate_hz: 1/60
backbone: {name: chronos2}
adapters: [{name: lora, rank: 4, alpha: 8.0}]
task: {name: forecast, context_s: 7200, horizon_s: 1800}
train: {steps: 20, lr: 0.001}
"""

NESTED = """{
  trials: 12,
  space: {
    train.lr: {low: 1.0e-4, high: 1.0e-2, log: true},
    train.clip: {choices: [null, 0.5, 1.0]},
    train.batch_size: {low: 8, high: 64, step: 8},
    adapters: {options: {
      lora: {
        value: [{name: lora, rank: 4}],
        space: {
          adapters.lora.alpha: {choices: [8.0, 16.0]},
          adapters.lora.sites: {choices: [[attn.q, attn.v], [attn.q, attn.k, attn.v]]}}},
      prompt: {
        value: [{name: prompt}],
        space: {adapters.prompt.tokens: {low: 2, high: 16}}}}}}}"""

GRID = """{
  sampler: grid,
  trials: 14,
  space: {
    train.steps: {low: 10, high: 20, step: 10},
    adapters: {options: {
      lora: {
        value: [{name: lora}],
        space: {adapters.lora.rank: {choices: [2, 4]}, adapters.lora.alpha: {choices: [8, 16]}}},
      prompt: {value: [{name: prompt}], space: {adapters.prompt.tokens: {low: 2, high: 4}}}}}}}"""


def read(search, *sets):
    return loads(RECIPE, [f"search={search}", *sets])
