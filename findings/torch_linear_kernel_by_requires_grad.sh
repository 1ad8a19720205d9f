#!/usr/bin/env bash
# torch 2.13.0: torch.nn.functional.linear on a slice of a contiguous (B, P, D) batch, under
# no_grad, multiplies by `mm` where the weight has requires_grad=True and by `bmm` where it has not.
# A frozen model and its trainable copy are then computed by different kernels, and may differ in
# the last bits, though nothing is differentiated. A contiguous input takes one kernel either way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.profiler import ProfilerActivity, profile

torch.manual_seed(0)
batch = torch.randn(12, 9, 32)
weight = torch.randn(64, 32)


def kernels(values, requires_grad):
    own = weight.clone().requires_grad_(requires_grad)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as seen:
        result = torch.nn.functional.linear(values, own)
    names = {event.key for event in seen.key_averages()}
    return {name for name in ("aten::mm", "aten::addmm", "aten::bmm") if name in names}, result


last = batch[:, -2:]  # the last tokens of each series: not contiguous
frozen, one = kernels(last, requires_grad=False)
trainable, other = kernels(last, requires_grad=True)
print("torch", torch.__version__)
print("slice, frozen weight:   ", sorted(frozen))
print("slice, trainable weight:", sorted(trainable))
print("largest difference:     ", (one - other).abs().max().item(), "(depends on the processor)")
whole = [kernels(batch, requires_grad)[0] for requires_grad in (False, True)]
print("contiguous, both:       ", [sorted(names) for names in whole])
assert torch.__version__.startswith("2.13.0")
assert frozen == {"aten::bmm"}, frozen
assert trainable == {"aten::mm"}, trainable
assert whole[0] == whole[1]
PYTHON
