"""Makes small.bin (torch.save's zip), old.bin (the container before torch 1.6), trainer.bin (the
tensors inside a trainer's dictionary) and small.safetensors: the same tensors, contiguous, by the
safetensors package.   python make.py   (torch 2.15, safetensors 0.8)"""
import collections
import torch
from safetensors.torch import save_file

torch.manual_seed(1)
base = torch.randn(5, 6)
tensors = collections.OrderedDict(
    plain=torch.randn(3, 4),
    transposed=base.t(),
    shared=base,
    rows=base[1:4],
    column=base[:, 2],
    every_other=torch.randn(4, 8)[::2, 1::3],
    permuted=torch.randn(2, 3, 4).permute(2, 0, 1),
    bf16=torch.randn(3, 5).bfloat16(),
    bf16_transposed=torch.randn(3, 5).bfloat16().t(),
    f16=torch.randn(7).half(),
    f64=torch.randn(2, 2).double(),
    i64=torch.arange(4),
    i32=torch.arange(3, dtype=torch.int32),
    u8=torch.arange(5, dtype=torch.uint8),
    flag=torch.tensor([True, False]),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 4),
    five=torch.randn(1, 2, 1, 2, 3),
)
tensors["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
tensors._metadata = collections.OrderedDict([("", {"version": 1})])  # as a module's state_dict has it
torch.save(tensors, "small.bin")
torch.save(tensors, "old.bin", _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "loss": 0.5, "lr": [1e-3, 2e-3], "done": None, "state_dict": tensors}, "trainer.bin")
save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, "small.safetensors")

# model.bin: the weights of a reference model, as a training run of before safetensors left them;
# some transposed in storage, as tensors that were loaded from other frameworks are.
from safetensors.torch import load_file  # noqa: E402

model = load_file("../cases/llama-gqa/model/model.safetensors")
for name in model:
    if name.endswith("mlp.down_proj.weight"):
        model[name] = model[name].t().contiguous().t()
torch.save(collections.OrderedDict(model), "model.bin")
